"""What a run worker is told by the command that launched it: two lines of JSON on its standard input, one after the other.

Where the input ends before the second, there is no run to execute: the worker ends, as it does when the command dies.
"""

from __future__ import annotations

from typing import IO, TypeVar

import msgspec

Order = TypeVar("Order", "DatabaseOrder", "RunOrder")


class DatabaseOrder(msgspec.Struct, frozen=True):
    """The database runs: open Dagster's instance in it. The URL is Dagster's (`dagster_home.dagster_url`)."""

    dagster_url: str


class RunOrder(msgspec.Struct, frozen=True):
    """Execute the job on the batch as the run of this id, a UUID that no run has yet."""

    partition_key: str
    run_id: str
    job: str


def give(stream: IO[bytes], order: DatabaseOrder | RunOrder) -> None:
    """Hand an order over through an unbuffered stream. Raises BrokenPipeError where the worker has ended."""
    stream.write(msgspec.json.encode(order) + b"\n")


def receive(stream: IO[bytes], kind: type[Order]) -> Order | None:
    """Wait for the next order, None where none comes any more."""
    line = stream.readline()
    return msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None
