"""The fake embedding service as an ASGI application, with the routes that control it.

Beside `/v1/embeddings` and `/v1/models` it answers

    GET    /counters   `Counters`
    GET    /arrivals   `Arrivals`, every embedding request since the start or the last reset
    POST   /reset      counters, log, limits and behaviour as at the start, no outage
    POST   /faults     the JSON object changes the named fields of `Behaviour`
    POST   /outage     `OutageOrder`, such as {"kind": "503" | "refused" | "hang", "after": 1.5, "seconds": 10}
    DELETE /outage     ends the outage under way, or forgets the planned one

A new fault of an answer is a probability in `Behaviour` and a function in `faults`; a new refusal is a field there and
two lines in `refusals`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

import msgspec
import orjson

from helix_pipelines_tests.fakes.accounting import CLIENT_LEFT, UNANSWERED, Ledger
from helix_pipelines_tests.fakes.answers import Answer, Ask, Header, embed, error, parse
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.faults import USELESS, Dice, faulty
from helix_pipelines_tests.fakes.limits import Limits
from helix_pipelines_tests.fakes.loopback_server import Receive, Scope, Send
from helix_pipelines_tests.fakes.outages import OutageOrder, Outages
from helix_pipelines_tests.fakes.refusals import denial, objection, switched_on

NOTHING_ASKED = Ask({}, [], 0, well_formed=False)


class Plan(NamedTuple):
    """What is decided when a request has arrived."""

    answer: Answer | None
    """None is to hang."""
    late: float = 0.0
    """Seconds beside the usual latency."""
    spoilt: bool = False
    admitted: bool = False


class EmbeddingServiceApp:
    """The ASGI application; all of it runs on one event loop, so that nothing needs a lock."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._initial = msgspec.structs.replace(behaviour)
        self._outages = Outages()
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.behaviour = msgspec.structs.replace(self._initial)
        self._ledger = Ledger()
        self._limits = Limits(self.behaviour)
        self._dice = Dice(self.behaviour)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if scope["path"] == "/v1/embeddings" and scope["method"] == "POST":
            await self._embeddings(scope, receive, send, body)
        else:
            await _send(send, await self._control(scope, body))

    async def _control(self, scope: Scope, body: bytes) -> Answer:
        answer = Answer(200, b"{}")
        match scope["method"], scope["path"]:
            case "GET", "/v1/models":
                name = self.behaviour.model or "fake"
                answer = Answer(200, orjson.dumps({"object": "list", "data": [{"id": name}]}))
            case "GET", "/counters":
                answer = Answer(200, msgspec.json.encode(self._ledger.counters))
            case "GET", "/arrivals":
                answer = Answer(200, self._ledger.arrivals())
            case "POST", "/reset":
                await self._outages.end()
                self._start_afresh()
            case "POST", "/faults":
                answer = self._change(body)
            case "POST", "/outage":
                answer = await self._order_outage(scope, body)
            case "DELETE", "/outage":
                await self._outages.end()
            case _:
                answer = error(404, "no such route")
        return answer

    async def _embeddings(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Answer one request and book it; the objects of its arrival stay its own through a reset."""
        now = time.monotonic()
        ask = parse(body)
        ledger, limits, outage = self._ledger, self._limits, self._outages.current
        place = ledger.arrive(now, len(ask.texts) if ask else 0, ask.tokens if ask else 0, outage)
        plan, status = Plan(None), UNANSWERED
        try:
            plan = self._plan(scope, ask, now)
            stays = await self._stays(receive, plan, ask or NOTHING_ASKED, now)
            status = self._settle(ledger, plan, ask or NOTHING_ASKED, now, stays=stays)
            if stays and plan.answer is not None:
                await _send(send, plan.answer)
                if plan.answer.cut_after is not None:
                    scope["server_handle"].cut(scope)
                    await _client_leaves(receive)
        finally:
            limits.in_flight -= plan.admitted
            ledger.leave(place, status, outage)

    async def _stays(self, receive: Receive, plan: Plan, ask: Ask, arrived: float) -> bool:
        """Let the latency pass; False as soon as the client has left."""
        if plan.answer is None:
            await _client_leaves(receive)
            return False
        behaviour = self.behaviour
        latency = (behaviour.latency + behaviour.per_text * len(ask.texts)) * self._dice.spread() + plan.late
        rest = arrived + latency - time.monotonic()
        if rest <= 0:
            await asyncio.sleep(0)  # Requests that came together are in flight together, even without latency.
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await _client_leaves(receive)
                return False
        return True

    def _settle(self, ledger: Ledger, plan: Plan, ask: Ask, arrived: float, *, stays: bool) -> int:
        """Book what is paid for and give the status of the request."""
        current = self._outages.current
        if not stays and current is not None and current.kind == "refused":
            return UNANSWERED  # It was the service that left: nobody pays.
        if plan.answer is not None and plan.answer.status == 200:
            ledger.pay(ask.texts, ask.tokens, spoilt=plan.spoilt)
            if stays:
                self._outages.succeeded(arrived)
        return plan.answer.status if stays and plan.answer is not None else CLIENT_LEFT

    def _plan(self, scope: Scope, ask: Ask | None, now: float) -> Plan:
        """Whatever is wrong: the service itself first, then the caller, then the limits, then what was sent."""
        outage = self._outages.current
        if outage is not None and outage.kind == "hang":
            return Plan(None)
        if outage is not None:
            return Plan(error(503, "The server is overloaded or not ready yet"))
        refusal = switched_on(self.behaviour) or denial(self.behaviour, scope, ask)
        if refusal is not None:
            return Plan(refusal)
        if ask is None:
            return Plan(error(400, "the body is not a JSON object with `input`"))
        refusal = self._limits.admit(now, ask.tokens)
        if refusal is not None:
            return Plan(refusal)
        return self._work(ask, self._limits.headers(now))

    def _work(self, ask: Ask, headers: tuple[Header, ...]) -> Plan:
        behaviour = self.behaviour
        refusal = objection(behaviour, ask)
        if refusal is not None:
            return Plan(refusal._replace(headers=headers), admitted=True)
        fault = self._dice.fault()
        if fault is None:
            return Plan(embed(ask, behaviour)._replace(headers=headers), admitted=True)
        faults = self._ledger.counters.faults
        faults[fault] = faults.get(fault, 0) + 1
        if fault == "hang":
            return Plan(None, admitted=True)
        if fault == "slow":
            return Plan(embed(ask, behaviour)._replace(headers=headers), late=behaviour.slow_seconds, admitted=True)
        answer = faulty(fault, ask, behaviour, self._dice.luck())
        return Plan(answer._replace(headers=headers), spoilt=fault in USELESS, admitted=True)

    def _change(self, body: bytes) -> Answer:
        try:
            changes = orjson.loads(body)
            unknown = set(changes) - set(Behaviour.__struct_fields__)
            if unknown:
                return error(400, f"no such fault: {', '.join(sorted(unknown))}")
            self.behaviour = msgspec.convert(msgspec.structs.asdict(self.behaviour) | changes, Behaviour)
        except (orjson.JSONDecodeError, msgspec.ValidationError, TypeError) as problem:
            return error(400, str(problem))
        self._limits.change(self.behaviour)
        self._dice.change(self.behaviour)
        return Answer(200, msgspec.json.encode(self.behaviour))

    async def _order_outage(self, scope: Scope, body: bytes) -> Answer:
        server = scope["server_handle"]
        # Who asks through the door that is to be closed would get no answer.
        door = server if scope["server"][1] != server.port else None
        try:
            order = msgspec.json.decode(body, type=OutageOrder)
            await self._outages.begin(order, self._ledger.counters.outages, door)
        except ValueError as problem:
            return error(400, str(problem))
        return Answer(200, b"{}")


async def _read_body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]
    cut = answer.cut_after is not None
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body[: answer.cut_after], "more_body": cut})
