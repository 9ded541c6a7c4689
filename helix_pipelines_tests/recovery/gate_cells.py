"""One gate, many processes, one limited server: what the server saw, beside what was allowed and what was attainable."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Literal, NamedTuple

import msgspec

from helix_pipelines.resilience.gate_limits import GateLimits
from helix_pipelines_tests.fakes.accounting import Arrivals, sliding_window_peak
from helix_pipelines_tests.fakes.behaviour import LimitKind
from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery.gate_fleet import Fleet, failures
from helix_pipelines_tests.recovery.gate_worker import Task

Bound = Literal["requests", "tokens", "both"]

LATENCY = 0.02
"""Seconds of an answer."""
CONCURRENCY = 12
THREADS = {1: 16, 4: 4, 16: 2}
"""Of each of so many processes: more than there are places, so that somebody always waits."""
LEAST, MOST = 40, 160
"""Tokens of a request; what one costs at most is what the gate keeps free."""
SETTLING = 1.0
"""Seconds at the beginning that do not count as use, as the accounts begin with a credit."""

# The constants of `helix.gate_slot` and `helix.gate_acquire`, from which what is attainable follows.
SLACK = 0.8
KEPT_REQUESTS = 1
KEPT_TOKENS = 1 / 400


class Cell(NamedTuple):
    """One combination. Limits are those of `period` seconds."""

    processes: int
    kind: LimitKind
    bound: Bound
    period: float = 3.0
    periods: float = 5.0
    requests_limit: int = 200

    @property
    def name(self) -> str:
        """Identifies the cell in results and on the command line."""
        return f"{self.processes}-{self.kind}-{self.bound}-{self.period:g}s"

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.period * self.periods

    @property
    def requests(self) -> int | None:
        """Requests in a period."""
        return None if self.bound == "tokens" else self.requests_limit

    @property
    def tokens(self) -> int | None:
        """Tokens in a period; with `both` what its requests cost on the average, so that neither limit is the lower one."""
        return None if self.bound == "requests" else round(self.requests_limit * (LEAST + MOST) / 2) + MOST

    def rates(self) -> tuple[float, float]:
        """Requests and tokens a second that are attainable; infinite where there is no limit."""
        window = self.period + SLACK
        requests = (self.requests - KEPT_REQUESTS) / window if self.requests else float("inf")
        tokens = (self.tokens * (1 - KEPT_TOKENS) - MOST) / window if self.tokens else float("inf")
        return requests, tokens


class Measured(msgspec.Struct, kw_only=True):
    """What came of a cell. Peaks are of any sliding window of the period, `use` is of what was attainable."""

    name: str
    seed: int
    requests: int
    limited: int
    other_errors: int
    peak_requests: int
    peak_tokens: int
    limit_requests: int | None
    limit_tokens: int | None
    use: float
    use_of_limit: float
    """Of the raw limit, from the first second to the last."""
    longest_pause: float
    """Seconds between two arrivals, in which nobody used the budget."""

    @property
    def holds(self) -> bool:
        """Whether nothing was refused and no window was above the limits."""
        return (
            self.limited == self.other_errors == 0
            and (self.limit_requests is None or self.peak_requests <= self.limit_requests)
            and (self.limit_tokens is None or self.peak_tokens <= self.limit_tokens)
        )


def matrix() -> Iterator[Cell]:
    """All cells."""
    kinds: tuple[LimitKind, ...] = ("sliding", "fixed", "bucket")
    bounds: tuple[Bound, ...] = ("requests", "tokens", "both")
    for processes, kind, bound in product(THREADS, kinds, bounds):
        yield Cell(processes, kind, bound)


def run_cell(cell: Cell, workers: Fleet, database: str, seed: int = 0) -> Measured:
    """Flood a server of the cell's limits from its processes through one gate."""
    behaviour = {
        "dimensions": 16,
        "latency": LATENCY,
        "rpm": cell.requests,
        "tpm": cell.tokens,
        "limit_period": cell.period,
        "limit_kind": cell.kind,
    }
    with running_fake_process(behaviour) as fake:
        began = workers.begin([_task(cell, database, fake.url, seed, worker) for worker in range(cell.processes)])
        reports = workers.reports(range(cell.processes))
        arrivals = fake.arrivals()
    broken = failures(reports)
    assert not broken, broken
    return _measured(cell, seed, arrivals, began)


def _task(cell: Cell, database: str, service: str, seed: int, worker: int) -> Task:
    per_minute = 60 / cell.period
    return Task(
        kind="flood",
        database=database,
        service=service,
        limits=GateLimits(
            requests_per_minute=cell.requests and cell.requests * per_minute,
            tokens_per_minute=cell.tokens and cell.tokens * per_minute,
            max_concurrency=CONCURRENCY,
            period_seconds=cell.period,
        ),
        name=f"{cell.name} {seed}",
        threads=THREADS[cell.processes],
        seed=1000 * seed + worker,
        seconds=cell.seconds,
        least=LEAST,
        most=MOST,
    )


def _measured(cell: Cell, seed: int, arrivals: Arrivals, began: float) -> Measured:
    peak_requests, peak_tokens = sliding_window_peak(arrivals, cell.period)
    in_time = arrivals.between(began, began + cell.seconds)
    steady = arrivals.between(began + SETTLING, began + cell.seconds)
    requests_rate, tokens_rate = cell.rates()
    measured = cell.seconds - SETTLING
    return Measured(
        name=cell.name,
        seed=seed,
        requests=len(arrivals),
        limited=len(arrivals.with_status(429)),
        other_errors=len(arrivals) - len(arrivals.with_status(200, 429)),
        peak_requests=peak_requests,
        peak_tokens=peak_tokens,
        limit_requests=cell.requests,
        limit_tokens=cell.tokens,
        use=max(len(steady) / requests_rate, sum(steady.tokens) / tokens_rate) / measured,
        use_of_limit=max(
            len(in_time) / cell.requests if cell.requests else 0.0,
            sum(in_time.tokens) / cell.tokens if cell.tokens else 0.0,
        )
        / cell.periods,
        longest_pause=max((after - before for before, after in pairwise(steady.at)), default=0.0),
    )
