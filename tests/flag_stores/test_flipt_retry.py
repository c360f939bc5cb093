"""Trying again: only what a wait can mend, never past the deadline, never before the server wants it."""

from __future__ import annotations

from typing import Any

import pytest

from rollback.adapters.flipt_http import FliptHttp, TryAgain
from rollback.errors import (
    ConfigurationError,
    Conflict,
    FlagMissing,
    RollbackError,
    StoreRefused,
    StoreUnreachable,
)


class StillClock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def retried(errors: list[Exception], *, seconds: float) -> tuple[Any, StillClock, list[tuple[float, RollbackError]]]:
    """What comes of a call that fails with these errors and then works."""
    clock, told = StillClock(), list[tuple[float, RollbackError]]()
    http = FliptHttp(
        "http://127.0.0.1:9",
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        on_wait=lambda left, error: told.append((left, error)),
    )
    failures = iter(errors)

    def call() -> str:
        for failure in failures:
            raise failure
        return "done"

    try:
        return http.retry(call, deadline=clock.at + seconds), clock, told
    except RollbackError as error:
        return error, clock, told


def test_what_works_at_once_costs_no_wait() -> None:
    result, clock, told = retried([], seconds=60)
    assert (result, clock.slept, told) == ("done", [], [])


def test_an_unreachable_store_is_tried_again_and_the_countdown_is_told() -> None:
    errors: list[Exception] = [StoreUnreachable(f"no {n}") for n in range(8)]
    result, clock, told = retried(errors, seconds=60)
    assert result == "done"
    assert all(seconds <= 1.0 for seconds in clock.slept)
    assert [left for left, _ in told] == sorted((left for left, _ in told), reverse=True)
    assert {error for _, error in told} == set(errors)


def test_waits_grow_but_the_last_try_comes_close_to_the_deadline() -> None:
    result, clock, _ = retried([StoreUnreachable(f"no {n}") for n in range(500)], seconds=60)
    assert isinstance(result, StoreUnreachable)
    assert clock.at > 100 + 60 - 0.5
    assert clock.at <= 100 + 60
    assert int(result.message.removeprefix("no ")) < 100


def test_the_server_says_when_to_come_back_and_nobody_comes_earlier() -> None:
    result, clock, _ = retried([StoreUnreachable("busy", retry_after=7.0)], seconds=60)
    assert result == "done"
    assert clock.at >= 107.0


def test_when_the_server_wants_longer_than_there_is_time_the_wait_is_not_begun() -> None:
    result, clock, _ = retried([StoreUnreachable("busy", retry_after=600.0)], seconds=60)
    assert isinstance(result, StoreUnreachable)
    assert clock.slept == []


@pytest.mark.parametrize(
    "error", [StoreRefused("no"), FlagMissing("none"), Conflict("changed"), ConfigurationError("?")]
)
def test_what_no_wait_can_mend_is_not_tried_again(error: RollbackError) -> None:
    result, clock, told = retried([error], seconds=60)
    assert result is error
    assert (clock.slept, told) == ([], [])


def test_giving_up_says_what_was_wrong_last() -> None:
    last = Conflict("it keeps changing")
    result, _, _ = retried([TryAgain(last) for _ in range(500)], seconds=1)
    assert result is last
