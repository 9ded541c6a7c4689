"""Every error of the product: a code to search for, a message that says what to do, and a verdict.

The four verdicts on calls to the outside decide everything that follows a failure (retry, bisect, stop, wait);
the others say who has to act: the person who handed over the file, the operator, or the caller.
"""

from __future__ import annotations

from helix_pipelines.resilience.rate_headers import NO_HEADERS, RateHeaders


class HelixError(Exception):
    """Base class.

    `code` is a stable identifier in capitals that documentation and the JSON output use; the message is for people and
    says what to do next.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ItemError(HelixError):
    """One text or record of a request is refused (HTTP 400, 422): isolate it, go on with the others."""


class TooLargeError(ItemError):
    """A request is larger than the service takes (HTTP 413): its halves may pass, and smaller ones are sent from now on."""


class TransientError(HelixError):
    """The service failed in a way that passes (408, 409, 425, 5xx, connection): retry later."""


class TimedOutError(TransientError):
    """The service did not answer in full by the deadline; a smaller request may."""


class LimitedError(HelixError):
    """The service asked for patience (429). `retry_after` is seconds from now, or None where it did not say.

    `rate` is what it said of its limits: some services name them only here.
    """

    def __init__(
        self, code: str, message: str, retry_after: float | None = None, rate: RateHeaders = NO_HEADERS
    ) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        self.rate = rate


class GlobalError(HelixError):
    """No request can succeed until an operator acts (401, 403, unknown model, quota): stop at once."""


class UnavailableError(HelixError):
    """A service cannot be used for now, through no fault of the work: what is pending is left for later.

    `retry_in` is seconds from now after which it may go on by itself, None where a person has to decide.
    """

    def __init__(self, code: str, message: str, retry_in: float | None) -> None:
        super().__init__(code, message)
        self.retry_in = retry_in


class FileRejectedError(HelixError):
    """A file as a whole cannot be imported. It is recorded as rejected and never fails its neighbours."""


class SetupError(HelixError):
    """The deployment is not usable (port, disk, version, permission, setting); the message names the remedy."""


class UsageError(HelixError):
    """The caller asked for something that makes no sense; exit code 2 of the command line."""


class HaltError(HelixError):
    """The run may not go on, whatever is left of its work; what it has done stays."""


class BatchStoppedError(HaltError):
    """Somebody asked the run to stop: nothing failed. `reason` says who (`storage.leases.StopReason`)."""

    def __init__(self, code: str, message: str, reason: str) -> None:
        super().__init__(code, message)
        self.reason = reason


class FencedError(HaltError):
    """Another worker owns the batch now; whatever this one was about to write is rolled back."""


class LeaseUncertainError(HaltError):
    """The lease could not be renewed for so long that another worker may soon begin. The same run may try again later."""


class PhaseError(HelixError):
    """A phase of a batch failed. `recoverable` tells whether repeating it can help."""

    def __init__(self, phase: str, code: str, message: str, *, recoverable: bool) -> None:
        super().__init__(code, message)
        self.phase = phase
        self.recoverable = recoverable
