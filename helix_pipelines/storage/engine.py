"""Connections to PostgreSQL: SQLAlchemy's pool hands out psycopg connections, whose COPY and server-side types the stages use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import cast

import psycopg
from sqlalchemy import Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from helix_pipelines.settings import Settings
from helix_pipelines.storage.schema import sqlalchemy_url

IDLE_SECONDS = 1.0
"""After which a pooled connection is not trusted any more."""
FROZEN_SECONDS = 15
"""Between two statements of a transaction, at most: less than a lease, and far more than a worker on a crowded machine needs."""
GONE_HOST = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""A host that was cut off is given up after 30 s at most; TCP alone takes hours. In seconds, the last one in milliseconds."""


class Database:
    """A pool of connections to one database.

    Connections of a deployment are processes x (pool_size + max_overflow), so both are small: a run worker has two pools (the
    work's and one connection for the lease), the daemon one for each sensor that looks right now. A pooled connection that was
    idle is tested before use (`pre_ping`), and each is replaced after `pool_recycle` seconds, as firewalls drop idle ones.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 2,
        max_overflow: int = 3,
        pool_timeout: float = 30,
        pool_recycle: int = 1800,
        pre_ping: bool = True,
    ) -> None:
        self.url = url
        self._engine = create_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            connect_args={"application_name": "helix", "connect_timeout": 10, **GONE_HOST},
        )
        event.listen(self._engine, "connect", _end_frozen_transactions)
        if pre_ping:
            _try_idle_connections(self._engine)

    @classmethod
    def from_settings(cls, url: str, settings: Settings) -> Database:
        """The pool as the `HELIX_DATABASE_*` settings size it."""
        return cls(
            url,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_max_overflow,
            pool_timeout=settings.database_pool_timeout,
            pool_recycle=settings.database_pool_recycle,
            pre_ping=settings.database_pre_ping,
        )

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """One transaction on one connection: committed at the end of the block, rolled back if it raises."""
        pooled = self._engine.raw_connection()
        connection = cast("psycopg.Connection", pooled.driver_connection)
        try:
            yield connection
            connection.commit()
        except Exception:
            _roll_back(pooled, connection)
            raise
        except BaseException:
            # An interrupt may have come in the middle of a statement: the connection is of no use, the server rolls back.
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    def close(self) -> None:
        """Close every idle connection."""
        self._engine.dispose()


def _end_frozen_transactions(connection: psycopg.Connection, _record: object) -> None:
    """Have the server end transactions of a process that stands still: one may hold the row by which a run takes its batch."""
    connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", [f"{FROZEN_SECONDS}s"])
    connection.commit()


def _try_idle_connections(engine: Engine) -> None:
    """Ping what was idle before it is handed out; SQLAlchemy's own pre-ping asks every time, 8 % of a busy writer's waits."""

    def note_return(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["returned"] = monotonic()

    def ping(connection: PoolProxiedConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if monotonic() - record.info.get("returned", monotonic()) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise DisconnectionError from error  # the pool takes another one

    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", ping)


def _roll_back(pooled: PoolProxiedConnection, connection: psycopg.Connection) -> None:
    """Undo what the transaction did; a connection that cannot even do that is thrown away, without hiding the first error."""
    try:
        connection.rollback()
    except psycopg.Error as error:
        pooled.invalidate(error)
