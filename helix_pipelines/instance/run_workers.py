"""Whether the process that executes a Dagster run lives, as far as that can be told from this machine.

A run that was launched here carries a mark of the launch; one of `helix import` has that of its own process. A run without a mark
is executed elsewhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import dagster as dg
import msgspec
import psutil

from helix_pipelines.storage.claims import Claim
from helix_pipelines.storage.holders import Holder, Verdict

PARTITION_TAG = "dagster/partition"
MAX_RETRIES_TAG = "dagster/max_retries"
WILL_RETRY_TAG = "dagster/will_retry"
LAUNCH_TAG = ".dagster/helix_launch"
"""Hidden in the UI by Dagster's prefix. A retry inherits its parent's, and gets its own when it is launched."""
START_SECONDS = 30.0
"""From a launch until its process says that it is there, even on a busy machine (measured: 2 to 5 s). Only asked once the process
that launched it is gone: while it lives, Dagster's own limit on starts applies."""
UNSEEN_SECONDS = {True: 600.0, False: 86_400.0}
"""By whether it has a partition: since the launch of a run that cannot be seen from here and holds no lease, after which it is
gone. An import takes its lease with its first step; other runs never have one, and a container that was replaced is silent."""
CLOCK_TOLERANCE = 2.0
"""Seconds by which an event may be older than the process that wrote it: another clock, other units."""
STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")
"""What Dagster's code server notes of a run's process (`dagster/_grpc/impl.py`)."""
EVENTS_READ = 50
"""Of a run's first engine events; the process announces itself in one of the first three."""


class LaunchMark(msgspec.Struct, frozen=True):
    """Who launched a run, and when: by the wall clock (as events are dated) and in seconds since the boot, which never jump."""

    launcher: Holder
    wall: float
    uptime: float

    @classmethod
    def now(cls) -> LaunchMark:
        """The mark of a launch that this process makes now."""
        return cls(Holder.here(), time.time(), uptime())

    @classmethod
    def of(cls, run: dg.DagsterRun) -> LaunchMark | None:
        """The mark of a run; None where it has none, or one that another version wrote."""
        try:
            return msgspec.json.decode(run.tags.get(LAUNCH_TAG, ""), type=cls)
        except msgspec.DecodeError:
            return None

    def tags(self) -> Mapping[str, str]:
        """The mark as a run carries it."""
        return {LAUNCH_TAG: msgspec.json.encode(self).decode()}


def uptime() -> float:
    """Seconds since this machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def judge(instance: dg.DagsterInstance, run: dg.DagsterRun, claim: Claim | None) -> tuple[Verdict, str]:
    """Whether the run's process lives, and what that rests on. `claim` is what the batch says that the run works on.

    The lease comes first, then the process that holds it, then the process that Dagster started. `unknown` is no reason to act.
    """
    if claim is not None and claim.is_leased:
        return Verdict.ALIVE, "its lease holds"
    if claim is not None and claim.holder is not None:
        verdict = claim.verdict()
        return verdict, f"process {claim.holder.pid} on {claim.holder.host}, which had its lease, is {verdict}"
    mark = LaunchMark.of(run)
    if mark is None:
        return Verdict.UNKNOWN, "it was not launched by this service"
    return _judge_launch(instance, run, mark)


def _judge_launch(instance: dg.DagsterInstance, run: dg.DagsterRun, mark: LaunchMark) -> tuple[Verdict, str]:
    launcher = mark.launcher.verdict()
    if launcher is Verdict.UNKNOWN:
        silent = time.time() - mark.wall > UNSEEN_SECONDS[PARTITION_TAG in run.tags]
        reason = f"it was launched on {mark.launcher.host}, which cannot be seen from here"
        return (Verdict.GONE, f"{reason}, and holds no lease") if silent else (Verdict.UNKNOWN, reason)
    if mark.launcher.boot != Holder.here().boot:
        return Verdict.GONE, f"{mark.launcher.host} was started anew"
    announced = _announced(instance, run.run_id)
    if announced is not None:
        pid, at = announced
        alive = _is_alive(pid, mark.uptime + (at - mark.wall))
        return (Verdict.ALIVE, f"process {pid} lives") if alive else (Verdict.GONE, f"process {pid} is gone")
    if launcher is Verdict.GONE and uptime() - mark.uptime > START_SECONDS:
        return Verdict.GONE, "whoever launched it is gone, and it never began"
    return Verdict.UNKNOWN, "it has not begun yet"


def _announced(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The pid of the run's process and when it told that, by the wall clock."""
    events = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=EVENTS_READ, ascending=True
    ).records
    found = [
        (int(match[1]), record.event_log_entry.timestamp)
        for record in events
        if (match := STARTED.match(record.event_log_entry.get_dagster_event().message or ""))
    ]
    return found[-1] if found else None


def _is_alive(pid: int, announced_at: float) -> bool:
    """Whether the process lives that announced itself so many seconds after the boot: one that began later only has its pid.

    A process's start is counted from the boot; both readings contain the boot's time, so jumps of the clock cancel out.
    """
    try:
        process = psutil.Process(pid)
        started = process.create_time() - psutil.boot_time()
        return process.status() != psutil.STATUS_ZOMBIE and started <= announced_at + CLOCK_TOLERANCE
    except psutil.NoSuchProcess:
        return False
