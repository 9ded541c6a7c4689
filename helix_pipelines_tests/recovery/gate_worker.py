"""A process that calls an embedding service through its gate, as a Dagster step does, and reports every request it made.

It reads a `Task` a line and answers with a `Report` each. Between the two it prints that it is prepared and waits for the moment
to begin, so that many of them begin together:

    python -m helix_pipelines_tests.recovery.gate_worker
"""

from __future__ import annotations

import random
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import structlog

from helix_pipelines.embedding.api import SERVICE
from helix_pipelines.embedding.batching import estimate_tokens
from helix_pipelines.embedding.client import EmbeddingClient
from helix_pipelines.embedding.reply import EmbeddingReply
from helix_pipelines.resilience.errors import HelixError, LimitedError, TransientError
from helix_pipelines.resilience.gate import Answer, Gate, Kind, Outcome, gate_connection
from helix_pipelines.resilience.gate import Report as Told
from helix_pipelines.resilience.gate_limits import GateLimits, gate_key
from helix_pipelines.resilience.gated_calls import GatedCalls, StoppedError

MODEL = "fake"
DIMENSIONS = 16
PREPARED = "prepared"
CHARS_PER_TOKEN = 4


class Task(msgspec.Struct, kw_only=True):
    """What a worker is to do, in `threads` threads. Times are seconds.

    `flood` sends requests of one text that costs between `least` and `most` tokens for `seconds`; `embed` sends the texts from
    `first` on, `batch` at a time, until all have been answered; `pairs` asks the gate and gives back, without any request, for
    `seconds`, in each thread once in `pace` seconds on the average, at random, or as fast as it can where that is 0.
    """

    kind: Literal["flood", "embed", "pairs"]
    database: str
    service: str
    limits: GateLimits
    name: str | None = None
    """Tells gates of the same service apart."""
    threads: int = 4
    seed: int = 0
    seconds: float = 0.0
    least: int = 8
    most: int = 8
    first: int = 0
    texts: int = 0
    batch: int = 10
    pace: float = 0.0
    request_timeout: float = 10.0
    timeout: float = 10.0
    """Of a request with its retries."""
    patience: float = 90.0


class Sent(msgspec.Struct, array_like=True):
    """A request as its sender saw it; `code` is that of the error which ended it. Times are of the monotonic clock."""

    began: float
    ended: float
    code: str | None


class Held(msgspec.Struct, array_like=True):
    """A lease, from when it was known here until it was given back."""

    granted: float
    released: float
    is_probe: bool
    outcome: str


class Report(msgspec.Struct, kw_only=True):
    """What a worker did. `pairs` are the seconds of each question to the gate with its giving back."""

    sent: list[Sent] = msgspec.field(default_factory=list)
    held: list[Held] = msgspec.field(default_factory=list)
    answered: int = 0
    """Texts."""
    pairs: list[float] = msgspec.field(default_factory=list)
    failed: list[str] = msgspec.field(default_factory=list)
    """Errors that ended a thread."""


class WatchedGate(Gate):
    """A gate that notes how long each lease was held."""

    def __init__(self, *arguments: Any, held: list[Held]) -> None:
        super().__init__(*arguments)
        self._held = held
        self._open: dict[uuid.UUID, tuple[float, bool]] = {}

    def acquire(self, kind: Kind, tokens: int, *, ttl: float, max_wait: float, scope: str) -> Answer:
        answer = super().acquire(kind, tokens, ttl=ttl, max_wait=max_wait, scope=scope)
        if answer.lease is not None:
            self._open[answer.lease] = (time.monotonic(), answer.is_probe)
        return answer

    def release(self, lease: uuid.UUID, report: Told, scope: str) -> None:
        before = time.monotonic()
        super().release(lease, report, scope)
        granted, is_probe = self._open.pop(lease)
        self._held.append(Held(granted, before, is_probe, str(report.outcome)))


def gate_of(task: Task, held: list[Held] | None = None) -> WatchedGate:
    """A way to a task's gate."""
    return WatchedGate(
        lambda: gate_connection(task.database),
        gate_key(task.service, task.name),
        SERVICE,
        task.limits,
        held=[] if held is None else held,
    )


class Worker:
    """One task: its way to the gate and the service, and the threads that use them."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.report = Report()
        self._gate = gate_of(task, self.report.held)
        self._calls = GatedCalls(self._gate, MODEL, patience=task.patience)
        self._client = EmbeddingClient(
            task.service, None, MODEL, DIMENSIONS, timeout=task.request_timeout, max_connections=task.threads
        )
        self._numbers = range(task.first, task.first + task.texts)
        self._batches = deque(
            self._numbers[start : start + task.batch] for start in range(0, len(self._numbers), task.batch)
        )

    def prepare(self) -> None:
        """Connect to the database, as a process does with its first question."""
        self._gate.still_holds(uuid.uuid4())

    def run(self) -> Report:
        """Do the task in all threads."""
        work: dict[str, Callable[[int], None]] = {"flood": self._flood, "embed": self._embed, "pairs": self._ask}
        threads = [
            threading.Thread(target=self._guarded, args=(work[self._task.kind], number))
            for number in range(self._task.threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._gate.close()
        self._client.close()
        return self.report

    def _guarded(self, work: Callable[[int], None], thread: int) -> None:
        try:
            work(thread)
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - the test is told
            self.report.failed.append(repr(error))

    def _flood(self, thread: int) -> None:
        task = self._task
        dice = random.Random(f"{task.seed} {thread}")
        # Whoever waits for a turn that comes after the end does not take it.
        ends = threading.Timer(task.seconds, self._calls.stop)
        ends.daemon = True
        ends.start()
        number = 0
        while True:
            number += 1
            text = f"{task.seed} {thread} {number} "
            tokens = dice.randint(task.least, task.most)
            self._call([text.ljust(CHARS_PER_TOKEN * (tokens - 1), "x")])

    def _embed(self, thread: int) -> None:
        # As the drain does: what failed for a passing reason is pending again.
        while self.report.answered < len(self._numbers):
            try:
                batch = self._batches.popleft()
            except IndexError:
                time.sleep(0.01)
                continue
            if not self._call([f"text {number}" for number in batch]):
                self._batches.append(batch)

    def _ask(self, thread: int) -> None:
        task = self._task
        dice = random.Random(f"{task.seed} {thread}")
        due = time.monotonic()
        ends = due + task.seconds
        while due < ends:
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            answer = self._gate.acquire(Kind.BULK, 10, ttl=5.0, max_wait=0.0, scope=MODEL)
            assert answer.lease is not None, answer
            self._gate.release(answer.lease, Told(Outcome.SUCCESS), MODEL)
            ended = time.monotonic()
            self.report.pairs.append(ended - began)
            due = due + dice.expovariate(1 / task.pace) if task.pace else ended

    def _call(self, texts: Sequence[str]) -> bool:
        def send(deadline: float) -> EmbeddingReply:
            began = time.monotonic()
            code: str | None = "STOPPED"
            try:
                reply = self._client.embed(texts, deadline)
                code = None
                return reply
            except HelixError as error:
                code = error.code
                raise
            finally:
                self.report.sent.append(Sent(began, time.monotonic(), code))

        try:
            self._calls.call(send, sum(map(estimate_tokens, texts)), self._task.timeout)
        except (TransientError, LimitedError):
            return False
        self.report.answered += len(texts)
        return True


def main() -> None:
    """Do what is read from the standard input until it ends."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        worker = Worker(msgspec.json.decode(line, type=Task))
        worker.prepare()
        print(PREPARED, flush=True)  # noqa: T201 - the contract
        begin = float(sys.stdin.readline())
        time.sleep(max(0.0, begin - time.monotonic()))
        print(msgspec.json.encode(worker.run()).decode(), flush=True)  # noqa: T201 - the contract


if __name__ == "__main__":
    main()
