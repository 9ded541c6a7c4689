"""What an error means: judged by its kind, SQLSTATE or number, never by its words."""

from __future__ import annotations

import errno
import socket

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from helix_pipelines.resilience.errors import (
    GlobalError,
    LeaseUncertainError,
    LimitedError,
    PhaseError,
    SetupError,
    TransientError,
)
from helix_pipelines.storage.failures import DEFECT, diagnose, passing_failure


@pytest.mark.parametrize(
    ("error", "code", "recoverable"),
    [
        (TransientError("SERVICE_DOWN", "503"), "SERVICE_DOWN", True),
        (LimitedError("LIMITED", "429", 3), "LIMITED", True),
        (LeaseUncertainError("LEASE_UNCERTAIN", "no answer"), "LEASE_UNCERTAIN", True),
        (PhaseError("serving", "EMBEDDINGS_PENDING", "some left", recoverable=True), "EMBEDDINGS_PENDING", True),
        (PhaseError("serving", "LEDGER_MISMATCH", "wrong", recoverable=False), "LEDGER_MISMATCH", False),
        (GlobalError("EMBEDDING_KEY_REFUSED", "401"), "EMBEDDING_KEY_REFUSED", False),
        (SetupError("SETTING_INVALID", "no such"), "SETTING_INVALID", False),
        (errors.DiskFull(), "DISK_FULL", True),
        (errors.ReadOnlySqlTransaction(), "DATABASE_READ_ONLY", True),
        (errors.TooManyConnections(), "DATABASE_CONNECTIONS_USED_UP", True),
        (errors.AdminShutdown(), "DATABASE_UNAVAILABLE", True),
        (errors.DeadlockDetected(), "DATABASE_CONFLICT", True),
        (errors.LockNotAvailable(), "DATABASE_LOCKED", True),
        (errors.UniqueViolation(), "DATABASE_REFUSED", False),
        (errors.InvalidPassword(), "DATABASE_LOGIN_REFUSED", False),
        (errors.UndefinedTable(), "SCHEMA_DAMAGED", False),
        (psycopg.OperationalError("connection refused"), "DATABASE_UNAVAILABLE", True),
        (OperationalError("SELECT 1", {}, errors.DiskFull()), "DISK_FULL", True),
        (PoolTimeoutError(), "DATABASE_CONNECTIONS_USED_UP", True),
        (OSError(errno.ENOSPC, "No space left on device"), "DISK_FULL", True),
        (OSError(errno.EROFS, "Read-only file system"), "DISK_READ_ONLY", True),
        (MemoryError(), "OUT_OF_MEMORY", True),
        (KeyError("a bug"), "KeyError", False),
        (OSError(errno.EIO, "Input/output error"), "DISK_FAILING", True),
        (OSError(errno.ESTALE, "Stale file handle"), "MOUNT_LOST", True),
        (OSError(errno.ENFILE, "Too many open files in system"), "OPEN_FILES_USED_UP", True),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "NETWORK_UNAVAILABLE", True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "NETWORK_UNAVAILABLE", True),
        (TimeoutError(), "NETWORK_UNAVAILABLE", True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "NETWORK_UNAVAILABLE", True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "gaierror", False),
        (PermissionError(errno.EACCES, "Permission denied"), "PermissionError", False),
        (KeyboardInterrupt(), "INTERRUPTED", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_has_a_code_a_verdict_and_advice(error: BaseException, code: str, recoverable: bool) -> None:
    failure = diagnose(error)
    assert (failure.code, failure.recoverable) == (code, recoverable)
    assert failure.advice


def test_a_defect_is_called_one() -> None:
    assert diagnose(ZeroDivisionError("division by zero")).advice == DEFECT


def wrapped(error: Exception) -> Exception:
    """The error as the cause of one of a library."""
    library = RuntimeError("cannot reach the end point")
    library.__cause__ = error
    return library


def test_an_error_of_the_system_is_found_behind_those_of_libraries() -> None:
    failure = passing_failure(wrapped(wrapped(OSError(errno.ENOSPC, "No space left on device"))))
    assert failure is not None
    assert (failure.code, failure.recoverable) == ("DISK_FULL", True)


def test_what_does_not_pass_is_not_called_so_and_an_error_may_be_its_own_cause() -> None:
    circular = RuntimeError("raised from itself")
    circular.__cause__ = circular
    assert [
        passing_failure(error) for error in (circular, wrapped(PermissionError(errno.EACCES, "no")), KeyError())
    ] == [
        None,
        None,
        None,
    ]
