"""Outages on command: the service answers 503, refuses connections or hangs, for a while or until it is told to end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated, Protocol

import msgspec

from helix_pipelines_tests.fakes.accounting import OutageCounters, OutageKind

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class OutageOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST `/outage`."""

    kind: OutageKind = "503"
    after: Seconds = 0.0
    seconds: Seconds | None = None
    """None lasts until DELETE `/outage`."""


class Door(Protocol):
    """The listening socket that clients of the service use."""

    def close(self) -> None:
        """Refuse connections from now on and cut those there are."""

    async def open(self) -> None:
        """Accept connections on the same port again."""


class Outages:
    """One outage at a time, planned or under way; the next one ends the one before."""

    def __init__(self) -> None:
        self.current: OutageCounters | None = None
        """The outage under way."""
        self.awaiting: OutageCounters | None = None
        """The last outage, until the first success after it."""
        self._order: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def begin(self, order: OutageOrder, records: list[OutageCounters], door: Door | None) -> None:
        """Carry out the order; if it begins at once it has begun when this returns. Its counters go to `records`.

        ValueError if connections are to be refused and there is no door to close.
        """
        if order.kind == "refused" and door is None:
            raise ValueError("order this on the control socket, which stays open")
        await self.end()
        self._over = asyncio.Event()
        began = asyncio.Event()
        self._order = asyncio.create_task(self._carry_out(order, records, door, began))
        if not order.after:
            await began.wait()

    async def end(self) -> None:
        """End the outage under way, or forget the planned one; clients can connect again when this returns."""
        if self._order is None:
            return
        self._over.set()
        await self._order
        self._order = None

    def succeeded(self, arrived: float) -> None:
        """An answer with vectors leaves now; it is a sign of recovery if its request came after the outage."""
        outage = self.awaiting
        if outage is not None and outage.ended is not None and arrived >= outage.ended:
            outage.first_success = time.monotonic()
            self.awaiting = None

    async def _carry_out(
        self, order: OutageOrder, records: list[OutageCounters], door: Door | None, began: asyncio.Event
    ) -> None:
        if order.after and await self._told_to_end(order.after):
            return
        outage = OutageCounters(kind=order.kind, began=time.monotonic())
        records.append(outage)
        self.current, self.awaiting = outage, None
        closed = door if order.kind == "refused" else None
        if closed is not None:
            closed.close()
        began.set()
        await self._told_to_end(order.seconds)
        if closed is not None:
            await closed.open()
        outage.ended = time.monotonic()
        self.current, self.awaiting = None, outage

    async def _told_to_end(self, seconds: float | None) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
                return True
        return False
