ALTER TABLE helix.import_job
    ADD COLUMN sheets JSONB DEFAULT '[]' NOT NULL,
    ADD COLUMN notes JSONB DEFAULT '[]' NOT NULL,
    ADD COLUMN archive_id BIGINT CONSTRAINT fk_import_job_archive_id REFERENCES helix.import_job (id),
    ADD COLUMN replay_of BIGINT CONSTRAINT fk_import_job_replay_of REFERENCES helix.import_job (id);

ALTER TABLE helix.import_row ADD COLUMN replayed_by BIGINT; -- the import that brought the corrected row

ALTER TABLE helix.import_job DROP CONSTRAINT ck_import_job_state;
ALTER TABLE helix.import_job
    ADD CONSTRAINT ck_import_job_state CHECK (state IN ('pending', 'stored', 'parsed', 'completed', 'completed_with_quarantine', 'rejected', 'failed', 'unpacked'));

-- A corrected row is the row of the file that it was refused from.
CREATE OR REPLACE VIEW helix.knowledge_base AS
SELECT p.id AS pair_id,
       c.name AS collection,
       p.question,
       p.answer,
       p.language,
       s.category,
       s.url,
       s.stale,
       s.sources,
       p.created_at
FROM helix.qa_pair p
JOIN helix.collection c ON c.id = p.collection_id
CROSS JOIN LATERAL (
    SELECT min(o.category) AS category,
           min(o.url) AS url,
           bool_and(o.stale) AS stale,
           jsonb_agg(jsonb_build_object('source', src.name, 'path', coalesce(f.path, j.path), 'sheet', o.sheet, 'row', o.row_number,
                                        'import', o.import_job_id)
                     ORDER BY o.import_job_id, o.ordinal) AS sources
    FROM helix.occurrence o
    JOIN helix.source src ON src.id = o.source_id
    JOIN helix.import_job j ON j.id = o.import_job_id
    LEFT JOIN helix.import_job f ON f.id = j.replay_of
    WHERE o.served_pair_id = p.id
    HAVING count(*) > 0
) s;
