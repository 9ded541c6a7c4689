"""What has become of batches, files and collections, as plain dictionaries for `helix import` and `helix status`.

The keys of the import report are a contract with other programs: keys may be added, never renamed or removed. Every
function takes an open connection and only reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from helix_pipelines.storage.queries import load
from helix_pipelines.storage.recovery import failed_attempts

Report = dict[str, Any]

IMPORT_KEYS = (
    *("import", "path", "source", "status", "error", "same_as", "sha256", "format", "encoding"),
    *("rows_read", "inserted", "updated", "unchanged", "duplicate", "quarantined", "pending"),
    *("embedded", "failed_embeddings", "notes"),
)
"""The keys of one file in the import report, in their order."""
STATUS = {"done": "done", "error": "error", "deferred": "deferred", "queued": "deferred", "paused": "paused"}
"""What `helix import` calls the states in which it may leave a batch; one that waits in the queue goes on by itself, too."""
EMBEDDING_PHASE = "embeddings"
NOT_FINISHED = {
    "code": "RUN_ENDED_EARLY",
    "message": "The run ended before the batch was finished. Run the import again.",
}
CANCELLED = {"code": "CANCELLED", "message": "The batch was cancelled."}
RECENT_BATCHES = 20


def import_report(connection: psycopg.Connection, batch: str) -> Report:
    """The JSON document of `helix import` for a batch whose run has ended.

    `status` is `error` where the run ended without an outcome or an operator cancelled it; then, as for every failed run,
    the key `error` is there with code and message, as it is with the reason of a deferral. `retry_at` is when a deferred batch
    goes on. Raises KeyError for an unknown batch.
    """
    line = _batch_line(connection, batch)
    if line is None:
        raise KeyError(batch)
    report: Report = {
        "batch": line["batch"],
        "run_id": line["run_id"],
        "status": STATUS.get(line["state"], "error"),
        "imports": [{key: file[key] for key in IMPORT_KEYS} for file in _files(connection, batch=batch)],
        "api": {key: line[key] for key in ("requests", "texts", "tokens", "cost")},
        "seconds": {phase["phase"]: round(phase["seconds"], 3) for phase in _phases(connection, line["id"])},
    }
    if report["status"] == "error":
        report["error"] = _error(line)
    elif line["error"]:
        report["error"] = line["error"]
    if line["retry_at"] is not None:
        report["retry_at"] = line["retry_at"]
    return report


def batch_status(connection: psycopg.Connection, batch: str) -> Report | None:
    """State, files, counters, costs and progress of one batch, finished or not; None for an unknown one."""
    line = _batch_line(connection, batch)
    if line is None:
        return None
    phases = _phases(connection, line["id"])
    files = _files(connection, batch=batch)
    kept = (
        "batch",
        "name",
        "state",
        "run_id",
        "attempts",
        "error",
        "created_at",
        "started_at",
        "finished_at",
        "retry_at",
        "stop_requested",
    )
    return {
        **{key: line[key] for key in kept},
        "progress": _progress(connection, phases, files),
        "imports": files,
        "api": {key: line[key] for key in ("requests", "texts", "tokens", "cost")},
        "seconds": {phase["phase"]: round(phase["seconds"], 3) for phase in phases},
        "failures": failed_attempts(connection, line["id"]) if line["state"] != "running" else [],
    }


def due_in(connection: psycopg.Connection, batch: str) -> float:
    """Seconds until a batch that waits by itself may go on; 0 where it may now, or does not wait any more."""
    row = connection.execute(
        "SELECT extract(epoch FROM retry_at - clock_timestamp())::float8 FROM helix.import_batch"
        " WHERE partition_key = %s AND state IN ('deferred', 'queued')",
        [batch],
    ).fetchone()
    return max(0.0, row[0] or 0.0) if row else 0.0


def import_status(connection: psycopg.Connection, import_id: int) -> Report | None:
    """One file of a batch with its counters; None where there is no such import."""
    files = _files(connection, import_id=import_id)
    return files[0] if files else None


def overview(connection: psycopg.Connection, batches: int = RECENT_BATCHES) -> Report:
    """The latest batches, the totals of each collection, and how the texts of the generation in use stand."""
    generation = _rows(connection, "report_generation")
    return {
        "batches": _rows(connection, "report_batches", limit=batches),
        "collections": _rows(connection, "report_collections"),
        "generation": generation[0] if generation else None,
    }


def pulse(connection: psycopg.Connection, batch: str) -> Report:
    """State, lease, running phase and counts of a batch, for whoever watches it. Raises KeyError for an unknown one."""
    lines = _rows(connection, "report_pulse", batch=batch)
    if not lines:
        raise KeyError(batch)
    return lines[0]


def unfinished_batches(
    connection: psycopg.Connection, collections: Sequence[str], sources: Sequence[str]
) -> dict[str, list[Report]]:
    """Batch -> all of its files, for the batches with an unfinished import of one of the sources; the newest first."""
    batches: dict[str, list[Report]] = {}
    for file in _rows(connection, "report_unfinished", collections=list(collections), sources=list(sources)):
        batches.setdefault(file["batch"], []).append(file)
    return batches


def _batch_line(connection: psycopg.Connection, batch: str) -> Report | None:
    lines = _rows(connection, "report_batch", batch=batch)
    return lines[0] if lines else None


def _phases(connection: psycopg.Connection, batch_id: int) -> list[Report]:
    return _rows(connection, "report_phases", id=batch_id)


def _files(connection: psycopg.Connection, batch: str | None = None, import_id: int | None = None) -> list[Report]:
    files = _rows(connection, "report_imports", batch=batch, **{"import": import_id})
    ledgers = {line["ledger"]: line for line in _ledger_rows(connection, "report_ledgers", files)}
    for file in files:
        line = ledgers.get(_ledger(file), {})
        file["embedded"] = line.get("embedded", 0)
        file["failed_embeddings"] = line.get("failed_embeddings", 0)
    return files


def _ledger(file: Report) -> int:
    """The import whose ledger lines speak for a file: an earlier one where the bytes were the same."""
    return int(file["same_as"] or file["import"])


def _ledger_rows(connection: psycopg.Connection, query: str, files: list[Report], **parameters: Any) -> list[Report]:
    """Run a statement over the files' ledgers and the texts of the generation in use; no rows before the first generation."""
    generation = connection.execute(
        "SELECT id, recipe FROM helix.embedding_generation WHERE status IN ('active', 'building')"
        " ORDER BY status, id DESC LIMIT 1"
    ).fetchone()
    if generation is None:
        return []
    ledgers = [_ledger(file) for file in files]
    return _rows(connection, query, generation=generation[0], recipe=generation[1], ledgers=ledgers, **parameters)


def _error(line: Report) -> Report:
    if line["error"]:
        return {"code": line["error"].get("code", "RUN_FAILED"), "message": line["error"].get("message", "")}
    return CANCELLED if line["state"] == "cancelled" else NOT_FINISHED


def _progress(connection: psycopg.Connection, phases: list[Report], files: list[Report]) -> Report | None:
    """How far the running phase is: `done` of `total` units, and the seconds left at the pace so far.

    `total` is None while a file is being read, as its end is not known; `eta_seconds` where there is no pace yet.
    """
    running = [phase for phase in phases if phase["running"]]
    if not running:
        return None
    phase = running[-1]
    done, total, eta, unit = sum(file["rows_read"] for file in files), None, None, "rows"
    if phase["phase"] == EMBEDDING_PHASE:
        for texts in _ledger_rows(connection, "report_batch_texts", files, since=phase["started_at"]):
            done, total, unit = texts["completed"] + texts["failed"], texts["total"], "texts"
            eta = round(phase["elapsed"] * (total - done) / texts["recent"], 1) if texts["recent"] else None
    return {"phase": phase["phase"], "unit": unit, "done": done, "total": total, "eta_seconds": eta}


def _rows(connection: psycopg.Connection, query: str, **parameters: Any) -> list[Report]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(load(query), parameters).fetchall()
