"""What a batch may cost: asked before a request is sent, so that the limit is not passed."""

from __future__ import annotations

import threading

from helix_pipelines.resilience.errors import UnavailableError


class TokenBudget:
    """Tokens that may still be paid for, shared by the threads of a run. `limit` None allows all."""

    def __init__(self, limit: int | None, spent: int) -> None:
        self._limit = limit
        self._spent = spent
        self._turn = threading.Lock()

    def reserve(self, tokens: int) -> None:
        """Set `tokens` aside for a request that is about to be sent.

        Raises UnavailableError (BATCH_BUDGET_SPENT) where they are not left: a person has to decide.
        """
        with self._turn:
            if self._limit is not None and self._spent + tokens > self._limit:
                raise UnavailableError(
                    "BATCH_BUDGET_SPENT",
                    f"The batch has used {self._spent:,} of the {self._limit:,} tokens that HELIX_BUDGET_PER_BATCH pays for; its"
                    " next request would pass them. Raise the budget, then run the batch again: only what is missing is sent.",
                    None,
                )
            self._spent += tokens

    def settle(self, reserved: int, used: int) -> None:
        """Replace what was set aside for a request by what it used, 0 where it was refused."""
        with self._turn:
            self._spent += used - reserved
