"""Trying again, where that can mend anything: exponential with full jitter, until the deadline.

tenacity is imported after a first failure only. Kill path: standard library only at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rollback.backoff import full_jitter
from rollback.errors import Conflict, RollbackError, StoreUnreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

FIRST_WAIT = 0.05
"""Seconds: the first wait is drawn from 0 to this, the next from 0 to twice this, and so on."""

LONGEST_WAIT = 2.0
LONGEST_WAIT_FOR_OTHERS = 0.2
"""Seconds, where the server answers and only others were faster."""

LAST_MOMENT = 0.02
"""Seconds: with less than this left after a wait, another try makes no sense."""

OnWait = Callable[[float, RollbackError], None]
"""Called about once a second while waiting, with the seconds left to the deadline and what went wrong."""


class TryAgain(Exception):
    """Nothing is wrong for good: the same may work in a moment. `error` says why it did not."""

    def __init__(self, error: RollbackError) -> None:
        super().__init__(error.message)
        self.error = error


class Patience:
    """Until when to try, on which clock, and who is told about waiting."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        on_wait: OnWait | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self.on_wait = on_wait

    def retry(self, call: Callable[[], T], *, deadline: float) -> T:
        """`call()`, repeated while it raises `StoreUnreachable` or `TryAgain`.

        When time is up it raises the last `StoreUnreachable`, or the `error` of the last `TryAgain`.
        """
        try:
            return call()
        except (StoreUnreachable, TryAgain) as error:
            first = error
        try:
            return self._again(call, first, deadline)
        except TryAgain as gave_up:
            raise gave_up.error from gave_up

    def _again(self, call: Callable[[], T], first: Exception, deadline: float) -> T:
        import tenacity

        pending: list[Exception] = [first]

        def attempt() -> T:
            if pending:  # the failure that brought us here counts as the first attempt
                raise pending.pop()
            return call()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((StoreUnreachable, TryAgain)),
            wait=lambda state: self._upcoming(state, deadline),
            stop=lambda state: self._monotonic() + state.upcoming_sleep > deadline - LAST_MOMENT,
            before_sleep=lambda state: self._wait(state, deadline),
            sleep=lambda _: None,  # `_wait` has slept, in slices
            reraise=True,
        )
        return retrying(attempt)

    def _upcoming(self, state: RetryCallState, deadline: float) -> float:
        """Full jitter, and never before `Retry-After`.

        At most half of the time that is left, so that the last try comes close to the deadline.
        """
        error = _error_of(state)
        longest = LONGEST_WAIT_FOR_OTHERS if isinstance(error, Conflict) else LONGEST_WAIT
        left = max(0.0, deadline - self._monotonic())
        drawn = min(full_jitter(FIRST_WAIT, longest, state.attempt_number), left / 2)
        asked = error.retry_after if isinstance(error, StoreUnreachable) else None
        return max(drawn, asked or 0.0)

    def _wait(self, state: RetryCallState, deadline: float) -> None:
        error = _error_of(state)
        until = self._monotonic() + state.upcoming_sleep
        while True:
            now = self._monotonic()
            if self.on_wait is not None:
                self.on_wait(max(0.0, deadline - now), error)
            if now >= until:
                return
            self._sleep(min(1.0, until - now))


def _error_of(state: RetryCallState) -> RollbackError:
    failure = state.outcome.exception() if state.outcome is not None else None
    if isinstance(failure, TryAgain):
        return failure.error
    return failure if isinstance(failure, RollbackError) else StoreUnreachable(str(failure))
