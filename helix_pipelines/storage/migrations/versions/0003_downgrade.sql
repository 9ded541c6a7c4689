-- The view as it was before rows could be corrected.
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
           jsonb_agg(jsonb_build_object('source', src.name, 'path', j.path, 'sheet', o.sheet, 'row', o.row_number,
                                        'import', o.import_job_id)
                     ORDER BY o.import_job_id, o.ordinal) AS sources
    FROM helix.occurrence o
    JOIN helix.source src ON src.id = o.source_id
    JOIN helix.import_job j ON j.id = o.import_job_id
    WHERE o.served_pair_id = p.id
    HAVING count(*) > 0
) s;
