DROP TRIGGER audit ON helix.import_batch;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON helix.import_batch
    FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{lease_expires_at,counters}');

ALTER TABLE helix.import_row RESET (fillfactor);
ALTER TABLE helix.occurrence RESET (fillfactor);

UPDATE helix.phase_run SET state = 'failed' WHERE state IN ('stopped', 'skipped');
ALTER TABLE helix.phase_run DROP CONSTRAINT ck_phase_run_state;
ALTER TABLE helix.phase_run
    ADD CONSTRAINT ck_phase_run_state CHECK (state IN ('running', 'done', 'failed', 'deferred'));

DROP INDEX helix.ix_import_batch_queue;
UPDATE helix.import_batch b SET position = q.place
FROM (SELECT id, row_number() OVER (ORDER BY priority DESC, position) AS place
      FROM helix.import_batch WHERE state = 'queued') q
WHERE b.id = q.id;
ALTER TABLE helix.import_batch ALTER COLUMN position TYPE INTEGER;
