"""What an error means for the work that it ended: a code, what to do about it, and whether trying again can help."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from helix_pipelines.resilience.errors import HelixError, LeaseUncertainError, LimitedError, PhaseError, TransientError
from helix_pipelines.storage.transactions import is_retryable


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is stable, `message` says what happened, `advice` what a person can do; `recoverable` is whether time may do it."""

    code: str
    message: str
    advice: str
    recoverable: bool


RETRIED = "It is tried again by itself."
DATABASE_FAILURES = {
    "53100": ("DISK_FULL", f"Free space on the disk of the database. {RETRIED}"),
    "53200": ("DATABASE_OUT_OF_MEMORY", f"Give the database more memory, or run fewer batches at once. {RETRIED}"),
    "53300": (
        "DATABASE_CONNECTIONS_USED_UP",
        f"Raise max_connections of the database or lower HELIX_DATABASE_POOL_SIZE; `helix doctor` shows the sum. {RETRIED}",
    ),
    "25006": (
        "DATABASE_READ_ONLY",
        f"The database takes no writes: point HELIX_DATABASE_URL to the primary, or end its read-only mode. {RETRIED}",
    ),
    "57014": ("STATEMENT_CANCELED", f"A statement took too long or was cancelled by an administrator. {RETRIED}"),
    "42501": (
        "DATABASE_PERMISSION",
        "Grant the database user what it lacks on schema helix, then run the batch again.",
    ),
    "42P01": ("SCHEMA_DAMAGED", "A table is missing: run `helix db check`, then the batch again."),
    "42703": ("SCHEMA_DAMAGED", "A column is missing: run `helix db check`, then the batch again."),
    "23": (
        "DATABASE_REFUSED",
        "The database refused the data: this is a defect; keep the traceback, run `helix verify`.",
    ),
    "28": ("DATABASE_LOGIN_REFUSED", "Correct user and password in HELIX_DATABASE_URL, then run the batch again."),
    "08": ("DATABASE_UNAVAILABLE", f"Bring the database back. {RETRIED}"),
    "57P": ("DATABASE_UNAVAILABLE", f"Bring the database back. {RETRIED}"),
    "53": ("DATABASE_SHORT_OF_RESOURCES", f"The database lacks a resource that it names. {RETRIED}"),
    "40": ("DATABASE_CONFLICT", f"Transactions stood in each other's way. {RETRIED}"),
    "55": ("DATABASE_LOCKED", f"Another transaction holds what is needed. {RETRIED}"),
}
"""By SQLSTATE or the beginning of one; the longest that fits counts. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
PASSES_WITH_TIME = frozenset({"25006", "57014"})
"""States that a chunk is not tried again for at once, but that may be over after a minute."""
SYSTEM_FAILURES = {
    errno.ENOSPC: ("DISK_FULL", f"Free space on the disk of HELIX_HOME and of the store. {RETRIED}"),
    errno.EDQUOT: ("DISK_FULL", f"The account's quota is used up: free space. {RETRIED}"),
    errno.EROFS: ("DISK_READ_ONLY", f"Mount the disk of HELIX_HOME and of the store for writing. {RETRIED}"),
    errno.EMFILE: ("OPEN_FILES_USED_UP", f"Raise the limit of open files (`ulimit -n`). {RETRIED}"),
    errno.ENFILE: ("OPEN_FILES_USED_UP", f"Raise the machine's limit of open files (`sysctl fs.file-max`). {RETRIED}"),
    errno.ENOMEM: ("OUT_OF_MEMORY", f"Give the machine more memory, or run fewer batches at once. {RETRIED}"),
    errno.EIO: ("DISK_FAILING", f"Look after the disk or network drive: the system's log has its errors. {RETRIED}"),
    **dict.fromkeys(
        (errno.ESTALE, errno.ENOTCONN),
        ("MOUNT_LOST", f"The server of a network drive took it away: mount it again. {RETRIED}"),
    ),
    **dict.fromkeys(
        (errno.EBUSY, errno.EAGAIN),
        ("SYSTEM_BUSY", f"The system or a store lacks something at the moment, or somebody else holds it. {RETRIED}"),
    ),
    **dict.fromkeys(
        (
            *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
            *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
        ),
        (
            "NETWORK_UNAVAILABLE",
            f"A network drive or a server does not answer: see to it and to the network. {RETRIED}",
        ),
    ),
}
GIVEN_UP = f"It was terminated, or Dagster could not store what happened: the end of the run's log says why. {RETRIED}"
DEFECT = "This is a defect of Helix or of a library: keep the traceback that `helix status` shows, and report it."


def diagnose(error: BaseException) -> Failure:
    """Judge an error by its kind, its SQLSTATE or its error number, never by its message."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    match error:
        case HelixError():
            return Failure(error.code, error.message, error.message, _is_recoverable(error))
        case psycopg.Error():
            return _diagnose_database(error)
        case PoolTimeoutError() | MemoryError() | OSError() if told := _of_system(error):
            code, advice = told
            return Failure(code, str(error) or code, advice, recoverable=True)
        case Exception():
            return Failure(type(error).__name__, str(error), DEFECT, recoverable=False)
        case GeneratorExit():
            return Failure("INTERRUPTED", "Dagster gave the step up before its end.", GIVEN_UP, recoverable=True)
        case _:
            return Failure("INTERRUPTED", "The run was interrupted.", "Run the batch again.", recoverable=True)


def passing_failure(error: BaseException) -> Failure | None:
    """What `diagnose` says of the system's error behind this one, if time may heal it; None where there is no such error.

    Libraries of object stores and archives wrap the errors of network and disk in their own: the causes are followed.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:  # an error that is its own cause is legal
        if isinstance(link, OSError | MemoryError) and _of_system(link):
            return diagnose(link)
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return None


def _of_system(error: PoolTimeoutError | MemoryError | OSError) -> tuple[str, str] | None:
    match error:
        case PoolTimeoutError():
            return DATABASE_FAILURES["53300"]
        case MemoryError():
            return SYSTEM_FAILURES[errno.ENOMEM]
        case socket.gaierror():  # its numbers are others
            return SYSTEM_FAILURES[errno.EHOSTUNREACH] if error.errno == socket.EAI_AGAIN else None
        case TimeoutError() | ConnectionError() if error.errno is None:  # as libraries raise them
            return SYSTEM_FAILURES[errno.ETIMEDOUT]
        case _:
            return SYSTEM_FAILURES.get(error.errno or 0)


def _is_recoverable(error: HelixError) -> bool:
    if isinstance(error, PhaseError):
        return error.recoverable
    return isinstance(error, TransientError | LimitedError | LeaseUncertainError)


def _diagnose_database(error: psycopg.Error) -> Failure:
    """A lost connection has no SQLSTATE."""
    state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
    message = error.diag.message_primary or str(error).partition("\n")[0]
    for length in range(len(state), 1, -1):
        if state[:length] in DATABASE_FAILURES:
            code, advice = DATABASE_FAILURES[state[:length]]
            return Failure(code, message, advice, is_retryable(error) or state in PASSES_WITH_TIME)
    return Failure(type(error).__name__, message, DEFECT, is_retryable(error))
