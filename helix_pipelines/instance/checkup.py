"""Checks of a deployment: run side by side, each within its time, with an answer that says what to do."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from helix_pipelines.resilience.errors import HelixError


class Status(StrEnum):
    """What a check found. A `fault` keeps Helix from working, now or at the next import; a `warning` may come to that."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check found, and what to do about it; nothing where it is fine."""

    status: Status
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing. `look` may raise: a HelixError says what to do by itself."""

    name: str
    look: Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a check."""

    check: str
    answer: Answer


def ok(detail: str) -> Answer:
    """It is fine."""
    return Answer(Status.OK, detail)


def warning(detail: str, advice: str) -> Answer:
    """It may become a fault, or is meant to be so by somebody."""
    return Answer(Status.WARNING, detail, advice)


def fault(detail: str, advice: str) -> Answer:
    """It does not work."""
    return Answer(Status.FAULT, detail, advice)


def run_checks(checks: Sequence[Check], seconds: float) -> list[Result]:
    """The answers in the order of the checks, after `seconds` at most; one that has none by then is a fault.

    A check that hangs is left to itself: its thread ends with the process.
    """
    answers: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
    for number, check in enumerate(checks):
        look = threading.Thread(target=lambda n, c: answers.put((n, _answer(c))), args=(number, check), daemon=True)
        look.start()
    deadline = time.monotonic() + seconds
    arrived: dict[int, Answer] = {}
    while len(arrived) < len(checks) and (left := deadline - time.monotonic()) > 0:
        try:
            number, answer = answers.get(timeout=left)
        except queue.Empty:
            break
        arrived[number] = answer
    late = fault(f"There was no answer within {seconds:g} s.", "Find out what hangs: the network, a disk, a lock.")
    return [Result(check.name, arrived.get(number, late)) for number, check in enumerate(checks)]


def _answer(check: Check) -> Answer:
    try:
        return check.look()
    except HelixError as error:
        return fault(f"{error.code}: {error.message}", "Do what the message says.")
    except Exception as error:  # noqa: BLE001 - whatever a check runs into is what it found
        return fault(f"{type(error).__name__}: {error}", "This is not foreseen: the message is that of a library.")
