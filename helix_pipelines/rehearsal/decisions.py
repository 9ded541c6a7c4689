"""What would be decided on the rows of a file, by the import's rules in the import's order."""

from __future__ import annotations

from dataclasses import dataclass

from helix_pipelines.enrichment.decisions import refuse_large_drop
from helix_pipelines.rehearsal.scratch import Scratch, first_key
from helix_pipelines.storage.batches import Mode

MATCHING = ("rehearse_match_content", "rehearse_match_external", "rehearse_match_question")


@dataclass(frozen=True, slots=True)
class Decisions:
    """Rows per outcome, conflicts, and earlier rows of the source that vanished or would be closed."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    conflicts: int = 0
    vanished: int = 0
    closed: int = 0


def decide(scratch: Scratch, file: int, place: tuple[int, int], mode: Mode, drop_limit: float) -> Decisions:
    """Decide on a file that has been staged; the files after it see its source and collection as it would leave them.

    `place` is collection and source. Raises FileRejectedError (SYNC_DROP_LIMIT) before anything has changed for the others.
    """
    collection, source = place
    named = {"file": file, "collection": collection, "source": source, "first_key": first_key(file)}
    scratch.begin_source(source)
    earlier = scratch.one("rehearse_vanished", named)
    assert earlier is not None
    vanished = closed = 0
    if earlier["earlier"]:
        vanished = _match(scratch, named, mode, drop_limit)
    scratch.run("rehearse_pairs", named)
    scratch.run("rehearse_decide", named)
    scratch.run("rehearse_occurrences", named)
    counts = scratch.one("rehearse_count", named)
    assert counts is not None
    if earlier["earlier"] and mode == "sync":
        closed = scratch.run("rehearse_close", named)
    return Decisions(**counts, vanished=vanished, closed=closed)


def _match(scratch: Scratch, named: dict[str, int], mode: Mode, drop_limit: float) -> int:
    """Find the source's earlier rows in the file; how many are not there."""
    for statement in (*MATCHING, "rehearse_carry"):
        scratch.run(statement, named)
    left = scratch.one("rehearse_vanished", named)
    assert left is not None
    if mode == "sync":
        refuse_large_drop(left["vanished"], left["earlier"], drop_limit)
    return int(left["vanished"])
