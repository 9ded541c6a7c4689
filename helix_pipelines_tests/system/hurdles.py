"""Hurdles in the way of a batch's runs: a phase that is held in the middle of a transaction, or fails there, as the test says.

They are triggers on what the phases write, each on the last file of the batch, so that what came before is done already. A run at
a hurdle waits for an advisory lock that the test holds, or is refused as if the database user lacked a right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from helix_pipelines_tests.recovery.live_service import LiveService

FAILURE = "DATABASE_PERMISSION"
"""Code of a failure at a hurdle: one that only a person can mend, so that nothing is tried again by itself."""
LOCK_CLASS = 4242
"""Of the advisory locks; the other half of the key is the batch."""
AT_THE_START = "start of "
"""Before a phase's name: its first transaction, which the batch's lease does not cover."""

INSTALL = f"""
CREATE TABLE public.hurdle (
    batch_id bigint, phase text, records bigint NOT NULL, fails boolean NOT NULL, PRIMARY KEY (batch_id, phase)
);
CREATE FUNCTION public.meet_hurdle(batch bigint, import_job bigint, name text, done bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hurdle public.hurdle;
BEGIN
    SELECT * INTO hurdle FROM public.hurdle h WHERE h.batch_id = batch AND h.phase = name AND done > h.records;
    IF NOT FOUND OR import_job < (SELECT max(id) FROM helix.import_job WHERE batch_id = batch) THEN
        RETURN;
    END IF;
    IF hurdle.fails THEN
        RAISE EXCEPTION 'permission denied for schema helix' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock_shared({LOCK_CLASS}, batch::integer);
END $$;
CREATE FUNCTION public.on_import_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'pending' AND NEW.state <> 'pending' THEN
        PERFORM public.meet_hurdle(NEW.batch_id, NEW.id, 'source_files', 1);
    ELSIF NEW.state LIKE 'completed%' AND OLD.state NOT LIKE 'completed%' THEN
        PERFORM public.meet_hurdle(NEW.batch_id, NEW.id, 'knowledge_base', 1);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.on_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.meet_hurdle((SELECT batch_id FROM helix.import_job WHERE id = NEW.import_job_id), NEW.import_job_id,
                               CASE NEW.phase WHEN 'parsing' THEN 'parsed_rows' ELSE 'qa_pairs' END, NEW.records);
    RETURN NEW;
END $$;
CREATE FUNCTION public.on_phase_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.meet_hurdle(NEW.batch_id, NULL, '{AT_THE_START}' || NEW.phase, 1);
    RETURN NEW;
END $$;
CREATE TRIGGER hurdle BEFORE UPDATE OF state ON helix.import_job FOR EACH ROW EXECUTE FUNCTION public.on_import_job();
CREATE TRIGGER hurdle BEFORE INSERT OR UPDATE ON helix.checkpoint FOR EACH ROW EXECUTE FUNCTION public.on_checkpoint();
CREATE TRIGGER hurdle BEFORE INSERT ON helix.phase_run FOR EACH ROW EXECUTE FUNCTION public.on_phase_run();
"""
REMOVE = """
DROP FUNCTION public.on_import_job, public.on_checkpoint, public.on_phase_run CASCADE;
DROP FUNCTION public.meet_hurdle;
DROP TABLE public.hurdle;
"""


class Hurdles:
    """Hurdles in one database. The locks are those of one connection: whatever becomes of the test, they end with it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def hold(self, transaction: psycopg.Connection, batch: int, phase: str, after: int = 0) -> None:
        """Hold the batch in a phase, once so many records of its last file are done, from the commit of `transaction` on."""
        self._connection.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, batch])
        transaction.execute("INSERT INTO public.hurdle VALUES (%s, %s, %s, false)", [batch, phase, after])

    def fail(self, transaction: psycopg.Connection, batch: int, phase: str, after: int = 0) -> None:
        """Have the batch fail in a phase, once so many records of its last file are done."""
        transaction.execute("INSERT INTO public.hurdle VALUES (%s, %s, %s, true)", [batch, phase, after])

    def is_reached(self, batch: int) -> bool:
        """Whether a run waits at a hurdle of the batch."""
        waiting = self._connection.execute(
            "SELECT 1 FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid::bigint = %s AND objid::bigint = %s AND NOT granted",
            [LOCK_CLASS, batch],
        )
        return waiting.fetchone() is not None

    def lift(self, batch: int) -> None:
        """Let the batch go on, now and later."""
        lifted = self._connection.execute("DELETE FROM public.hurdle WHERE batch_id = %s AND NOT fails", [batch])
        for _ in range(lifted.rowcount):
            self._connection.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_CLASS, batch])
        self._connection.execute("DELETE FROM public.hurdle WHERE batch_id = %s", [batch])


@contextmanager
def hurdles(service: LiveService) -> Iterator[Hurdles]:
    """Hurdles in a service's database for the length of the block."""
    with psycopg.connect(service.url, autocommit=True) as connection:
        connection.execute(INSTALL.encode())
        try:
            yield Hurdles(connection)
        finally:
            connection.execute("SELECT pg_advisory_unlock_all()")
            connection.execute(REMOVE.encode())
