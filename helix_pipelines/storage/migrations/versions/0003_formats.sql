ALTER TABLE helix.import_job
    ADD COLUMN sheets JSONB DEFAULT '[]' NOT NULL,
    ADD COLUMN notes JSONB DEFAULT '[]' NOT NULL,
    ADD COLUMN archive_id BIGINT CONSTRAINT fk_import_job_archive_id REFERENCES helix.import_job (id),
    ADD COLUMN replay_of BIGINT CONSTRAINT fk_import_job_replay_of REFERENCES helix.import_job (id);

ALTER TABLE helix.import_row ADD COLUMN replayed_by BIGINT; -- the import that brought the corrected row

ALTER TABLE helix.import_job DROP CONSTRAINT ck_import_job_state;
ALTER TABLE helix.import_job
    ADD CONSTRAINT ck_import_job_state CHECK (state IN ('pending', 'stored', 'parsed', 'completed', 'completed_with_quarantine', 'rejected', 'failed', 'unpacked'));
