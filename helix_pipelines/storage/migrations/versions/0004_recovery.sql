-- Places in the queue are numbers between which there is always room, so that a batch moves without the others being touched: the
-- numbers 1, 2, 3... that people see are counted when they are asked for.
ALTER TABLE helix.import_batch ALTER COLUMN position TYPE NUMERIC;
CREATE INDEX ix_import_batch_queue ON helix.import_batch (priority DESC, position) WHERE state = 'queued';

ALTER TABLE helix.import_batch
    ADD COLUMN stop_requested TEXT
        CONSTRAINT ck_import_batch_stop_requested CHECK (stop_requested IN ('pause', 'cancel')), -- heeded by whoever works on it
    ADD COLUMN holder JSONB, -- the process that has the lease
    ADD COLUMN progress BIGINT DEFAULT '0' NOT NULL, -- how far it was when its last run failed
    ADD COLUMN fruitless INTEGER DEFAULT '0' NOT NULL; -- runs in a row that failed without any progress

-- A failed phase says where it was, whether trying again can help, and what to do.
ALTER TABLE helix.phase_run
    ADD COLUMN recoverable BOOLEAN,
    ADD COLUMN place JSONB,
    ADD COLUMN advice TEXT;

ALTER TABLE helix.phase_run DROP CONSTRAINT ck_phase_run_state;
ALTER TABLE helix.phase_run
    ADD CONSTRAINT ck_phase_run_state CHECK (state IN ('running', 'done', 'failed', 'deferred', 'stopped', 'skipped'));

-- Room in the pages: every ledger line is updated once and every occurrence with each import. In full pages the new versions would
-- go elsewhere, and reading an import's lines in order would jump from page to page (105,000 reads instead of 2,000).
ALTER TABLE helix.import_row SET (fillfactor = 50);
ALTER TABLE helix.occurrence SET (fillfactor = 50);

-- What changes with every chunk is not audited.
DROP TRIGGER audit ON helix.import_batch;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON helix.import_batch
    FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{lease_expires_at,counters,holder,progress,fruitless}');
