"""What the fake embedding service refuses, beside its limits: the service's own fault, then the caller's, then the texts'."""

from __future__ import annotations

from helix_pipelines_tests.fakes.answers import Answer, Ask, error
from helix_pipelines_tests.fakes.behaviour import Behaviour
from helix_pipelines_tests.fakes.hashed_vectors import MAX_DIMENSIONS
from helix_pipelines_tests.fakes.loopback_server import Scope


def switched_on(behaviour: Behaviour) -> Answer | None:
    """The status that is answered to the next requests, of which this is one."""
    if behaviour.status is None or behaviour.status_requests == 0:
        return None
    if behaviour.status_requests is not None:
        behaviour.status_requests -= 1
    headers = ((b"retry-after", behaviour.retry_after.encode()),) if behaviour.retry_after is not None else ()
    return error(behaviour.status, "switched on by /faults", behaviour.status_code, headers)


def denial(behaviour: Behaviour, scope: Scope, ask: Ask | None) -> Answer | None:
    """Why this caller is not served, whatever the texts."""
    if behaviour.api_key is not None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if given != b"Bearer " + behaviour.api_key.encode():
            return error(401, "Incorrect API key provided", "invalid_api_key")
    if behaviour.insufficient_quota:
        message = "You exceeded your current quota, please check your plan and billing details."
        return error(429, message, "insufficient_quota", kind="insufficient_quota")
    if behaviour.model is not None and ask is not None and ask.payload.get("model") != behaviour.model:
        return error(404, "The model does not exist", "model_not_found")
    return None


def objection(behaviour: Behaviour, ask: Ask) -> Answer | None:
    """Why these texts are not embedded."""
    if len(ask.texts) > behaviour.max_texts:
        return error(413, "too many texts")
    if behaviour.max_request_tokens is not None and ask.tokens > behaviour.max_request_tokens:
        return error(413, f"{ask.tokens} tokens in a request that may have {behaviour.max_request_tokens}")
    if behaviour.refuses_base64 and ask.payload.get("encoding_format") == "base64":
        return error(400, "unsupported encoding")
    poisonous = behaviour.poison is not None and any(behaviour.poison in text for text in ask.texts)
    if poisonous or not ask.well_formed:
        return error(400, "'$.input' is invalid")
    dimensions = ask.payload.get("dimensions", behaviour.dimensions)
    if not isinstance(dimensions, int) or not 0 < dimensions <= MAX_DIMENSIONS:
        return error(400, "'$.dimensions' is invalid")
    return None
