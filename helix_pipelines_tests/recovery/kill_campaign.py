"""Kills parts of a running service at random moments, again and again, and checks that it recovers by itself with nothing lost.

    python -m helix_pipelines_tests.recovery.kill_campaign --kills 100 --seed 1 --results kills.jsonl

A campaign that is run again with the same seed and results goes on after its last line, with a new service; SIGTERM and Ctrl-C
end it in good order. Where a recovery fails the story is printed, with the end of the service's logs, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg

from helix_pipelines_tests.fakes.embedding_service import running_fake_process
from helix_pipelines_tests.recovery import kill_records
from helix_pipelines_tests.recovery.dropped_files import Drop, DroppedFiles
from helix_pipelines_tests.recovery.import_progress import (
    STARTING,
    BatchNow,
    batches,
    contradictions,
    is_taken,
    latest_batch,
)
from helix_pipelines_tests.recovery.kill_records import RESUMED_WITHIN, Kill, texts_in_flight, texts_unsaved
from helix_pipelines_tests.recovery.live_service import BEHAVIOUR, LiveService, live_service
from helix_pipelines_tests.recovery.victims import Victim, kill, processes_of
from helix_pipelines_tests.waiting import LOOK

WORKER_SHARE = 0.8
OTHERS = [victim for victim in Victim if victim is not Victim.WORKER]
LONGEST_DELAY = {
    STARTING: 4.0,
    "source_files": 0.2,
    "parsed_rows": 0.6,
    "qa_pairs": 0.6,
    "embeddings": 4.0,
    "knowledge_base": 0.2,
}
"""Seconds into a phase at which a kill comes at the latest: about as long as it lasts with files of some thousand rows."""
PATIENCE = 300.0
"""Seconds to wait for anything before it counts as lost; a busy machine takes its time to load Dagster."""


ATTEMPTS = 20
"""To kill something in a phase: the shortest ones may be over when it has been found out what to kill."""
GIVEN_UP = frozenset({"error", "paused", "cancelled"})
"""States of a batch that only a person changes."""


class Blow(NamedTuple):
    """Whom to kill, and in which phase of a batch."""

    victim: Victim
    phase: str


class Struck(NamedTuple):
    """A kill that was dealt, before it is known what it came to."""

    blow: Blow
    phase: str
    """The one that it hit, which may be the next one by then."""
    moment: float
    resumed: float
    since_kill: float


def random_blow(seed: int, number: int) -> Blow:
    """80 in 100 kills are of workers; every phase has the same chance."""
    chance = random.Random(f"{seed}/{number}/blow")
    victim = Victim.WORKER if chance.random() < WORKER_SHARE else chance.choice(OTHERS)
    return Blow(victim, chance.choice(list(LONGEST_DELAY)))


class Campaign:
    """Rounds of dropped files and kills against one service."""

    def __init__(self, service: LiveService, seed: int, files: DroppedFiles | None = None) -> None:
        self._service = service
        self._seed = seed
        self._files = files or DroppedFiles(seed)
        self._drops: list[Drop] = []
        self._before = 0

    def round(self, number: int, blows: Sequence[Blow]) -> list[Kill]:
        """Drop files, strike, wait until all is imported, check. `number` is the first kill's. Raises AssertionError."""
        twice_before = self._service.fake.counters().texts_seen_twice
        self._before = latest_batch(self._service)
        self._drops = []
        self._drop(number)
        struck = [self._strike(number + at, blow) for at, blow in enumerate(blows)]
        self._await(self._is_drained, "the imports do not end")
        drained = time.monotonic()
        wrong = contradictions(self._service, self._files, self._drops)
        assert not wrong, self.story("\n".join(wrong))
        twice = self._service.fake.counters().texts_seen_twice - twice_before
        kills = []
        for at, hit in enumerate(struck):
            result = self._result(number + at, hit, twice, drained, last=at == len(struck) - 1)
            twice -= result.twice
            kills.append(result)
        return kills

    def story(self, what: str) -> str:
        """What is known where something went wrong."""
        try:
            states = [f"{batch.key}: {batch.state}, {batch.phase}" for batch in batches(self._service, self._before)]
            failed = self._service.query(
                "SELECT batch_id, phase, attempt, state, error_code, right(error, 300) AS error FROM helix.phase_run"
                " WHERE state NOT IN ('done', 'running') ORDER BY id DESC LIMIT 5"
            )
        except psycopg.OperationalError as error:
            states, failed = [f"The database does not answer: {error}"], []
        logs = [f"--- {name}\n{self._service.log(name)}" for name in ("up", "dagster-daemon")]
        return "\n".join([what, f"home: {self._service.home}", *states, *map(str, failed), *logs])

    def _result(self, number: int, hit: Struck, twice: int, drained: float, *, last: bool) -> Kill:
        """What a kill came to. It takes the blame for so many texts sent twice as it can; the last one for all that are left."""
        arrivals = self._service.fake.arrivals()
        in_flight, unsaved = texts_in_flight(arrivals, hit.moment), texts_unsaved(arrivals, hit.moment)
        result = Kill(
            seed=self._seed,
            number=number,
            victim=hit.blow.victim,
            phase=hit.phase,
            resumed=round(hit.resumed, 2),
            since_kill=round(hit.since_kill, 2),
            twice=twice if last else min(twice, in_flight + unsaved),
            in_flight=in_flight,
            unsaved=unsaved,
            load=round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
            drained=round(drained - hit.moment, 2),
        )
        assert result.twice <= in_flight + unsaved, self.story(f"more texts twice than were on their way: {result}")
        assert result.resumed <= RESUMED_WITHIN * max(1.0, result.load), self.story(f"too late: {result}")
        return result

    def _drop(self, number: int) -> None:
        drops = self._files.round(number)
        for drop in drops:
            drop.write(self._service.settings.inbox_dir)
        paths = {drop.path for drop in drops}
        self._drops = [drop for drop in self._drops if drop.path not in paths] + drops

    def _strike(self, number: int, blow: Blow) -> Struck:
        """Wait for the phase, and for a while into it; then kill, and see the work resume."""
        for attempt in range(ATTEMPTS):
            chance = random.Random(f"{self._seed}/{number}/{attempt}")
            aimed = self._await_phase(blow.phase, number)
            time.sleep(chance.uniform(0, LONGEST_DELAY[blow.phase]))
            now = batches(self._service, self._before)
            [target] = [batch for batch in now if batch.key == aimed.key]
            processes = self._processes(blow.victim, target) if target.phase is not None else []
            if target.phase is not None and processes:  # or it ended just now
                moment = kill(processes)
                return Struck(
                    blow, target.phase, moment, *self._resume(blow.victim, _hurt(blow.victim, target, now), moment)
                )
        raise AssertionError(self.story(f"there was nothing to kill in {ATTEMPTS} attempts"))

    def _processes(self, victim: Victim, target: BatchNow) -> list[psutil.Process]:
        """Those to kill, none where they ended just now."""
        try:
            return processes_of(self._service, victim, target.holder if target.state == "running" else None)
        except psutil.NoSuchProcess:
            return []

    def _await_phase(self, phase: str, number: int) -> BatchNow:
        """A batch that is in this phase; where none came by it, more files are dropped."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = batches(self._service, self._before)
            found = next((batch for batch in now if batch.phase == phase), None)
            if found is not None:
                return found
            if self._is_drained():
                self._drop(number + round(time.monotonic() * 1000))
            time.sleep(LOOK / 2)
        raise AssertionError(self.story(f"no batch came to {phase}"))

    def _resume(self, victim: Victim, hurt: Sequence[BatchNow], moment: float) -> tuple[float, float]:
        """Seconds until all these batches have made progress: since the service was back, and since the kill."""
        before = {batch.key: batch.progress for batch in hurt}
        restart = self._service.begin_up() if victim.ends_service else None
        away = victim in {Victim.DATABASE, Victim.MACHINE}
        back = None if restart or away else moment
        deadline = moment + PATIENCE
        while time.monotonic() < deadline:
            now = self._look()
            if now is not None and back is None and (restart is None or restart.poll() == 0):
                back = time.monotonic()
            if now is not None and all(self._goes_on(now, key, progress) for key, progress in before.items()):
                resumed = time.monotonic()
                if restart is not None:
                    assert restart.wait(PATIENCE) == 0, self.story("`helix up` failed")
                return max(0.0, resumed - (back or resumed)), resumed - moment
            time.sleep(LOOK)
        raise AssertionError(self.story("nothing goes on after the kill"))

    def _look(self) -> dict[str, BatchNow] | None:
        """The batches by key, None while the database is away. Raises AssertionError where one was given up."""
        try:
            now = {batch.key: batch for batch in batches(self._service, self._before)}
        except psycopg.OperationalError:
            return None
        stuck = [batch for batch in now.values() if batch.state in GIVEN_UP]
        assert not stuck, self.story(f"given up: {stuck}")
        return now

    @staticmethod
    def _goes_on(now: dict[str, BatchNow], key: str, progress: int) -> bool:
        return now[key].progress > progress or now[key].state == "done"

    def _is_drained(self) -> bool:
        now = self._look()
        if now is None or not all(is_taken(self._service, drop) for drop in self._drops):
            return False
        return not any(batch.is_open for batch in now.values())

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.story(what)
            time.sleep(LOOK)


def _hurt(victim: Victim, target: BatchNow, now: Sequence[BatchNow]) -> list[BatchNow]:
    """The batches that have to go on: of a worker the one that it had, or any that it may have been about to take."""
    if victim is Victim.WORKER:
        return [
            batch
            for batch in now
            if (batch.key == target.key if target.state == "running" else batch.phase == STARTING)
        ]
    return [batch for batch in now if batch.phase is not None]


def main() -> int:
    """Run a campaign from the command line; 0 where everything recovered."""
    parser = argparse.ArgumentParser(description="Kill parts of a running service, and see it recover.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--of-a-round", type=int, default=3, help="kills between two checks of the whole result")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="where the service lives; a temporary folder by default")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))  # so that the service is ended too
    done = len(kill_records.read(options.results, options.seed))
    with (
        tempfile.TemporaryDirectory(prefix="helix-kills-", dir=options.folder) as folder,
        running_fake_process(BEHAVIOUR) as fake,
        live_service(Path(folder) / "home", fake, database_folder=Path(folder) / "database") as service,
    ):
        campaign = Campaign(service, options.seed)
        for first in range(done, options.kills, options.of_a_round):
            numbers = range(first, min(first + options.of_a_round, options.kills))
            kills = campaign.round(first, [random_blow(options.seed, number) for number in numbers])
            kill_records.append(options.results, kills)
            sys.stdout.writelines(f"{kill}\n" for kill in kills)
            sys.stdout.flush()
        refused = fake.counters().statuses.get(429, 0)
    sys.stdout.write(f"{kill_records.table(kill_records.read(options.results, options.seed))}\n")
    sys.stdout.write(f"requests over the limit: {refused}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
