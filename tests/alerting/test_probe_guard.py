"""One inquiry for all who wait, however many alerts come in."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from rollback.alerting.probe_guard import ProbeGuard
from rollback.errors import StoreUnreachable
from tests.e2e.harness import until
from tests.fakes.world import FEATURE, World

MINUTE = timedelta(minutes=1)


class Guard(ProbeGuard):
    """Its inquiries end when the test lets them."""

    def __init__(self, world: World) -> None:
        super().__init__(world.session())
        self.world = world
        self.asked: list[datetime] = []
        self.harmed = False
        self.error: Exception | None = None
        self.began, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.agreed: list[int] = []

    def want(self, number: int, ends_at: datetime) -> None:
        self.ask(ends_at, lambda: self.agreed.append(number))

    def _is_harmed(self, until: datetime) -> bool:
        self.asked.append(until)
        if self.error is not None:
            raise self.error
        self.began.release()
        assert self.may_end.acquire(timeout=20)
        if not self.harmed:
            self.world.clock.sleep((until - self.world.clock.now()).total_seconds())
        return self.harmed


def has_ended() -> bool:
    return not any(thread.name == f"guard-{FEATURE}" for thread in threading.enumerate())


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(World(tmp_path))


def test_a_thousand_alerts_are_one_thread_and_one_inquiry(guard: Guard) -> None:
    ends_at = guard.world.clock.now() + MINUTE
    for number in range(1000):
        guard.want(number, ends_at)
    assert guard.began.acquire(timeout=20)
    assert sum(thread.name == f"guard-{FEATURE}" for thread in threading.enumerate()) == 1
    guard.harmed = True
    guard.may_end.release()
    until(has_ended, what="the end of the inquiry")
    assert guard.agreed == list(range(1000))
    assert len(guard.asked) == 1


def test_who_comes_later_than_an_inquiry_began_gets_one_of_its_own(guard: Guard) -> None:
    now = guard.world.clock.now()
    guard.want(1, now + MINUTE)
    assert guard.began.acquire(timeout=20)
    guard.want(2, now + 2 * MINUTE)
    guard.may_end.release()
    assert guard.began.acquire(timeout=20)
    guard.harmed = True
    guard.may_end.release()
    until(has_ended, what="the end of both")
    assert guard.asked == [now + MINUTE, now + 2 * MINUTE]
    assert guard.agreed == [2]


@pytest.mark.parametrize("error", [StoreUnreachable("no probes today"), ValueError("a bug")], ids=str)
def test_probes_that_cannot_be_asked_agree_to_nothing_and_the_next_alert_asks_again(
    guard: Guard, error: Exception
) -> None:
    guard.error = error
    for number in (1, 2):
        guard.want(number, guard.world.clock.now() + MINUTE)
        until(has_ended, what="the end of the inquiry")
        assert len(guard.asked) == number
    assert guard.agreed == []


def test_a_machine_without_a_thread_left_is_asked_again_with_the_next_alert(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_at = guard.world.clock.now() + MINUTE
    with monkeypatch.context() as patched:
        patched.setattr("rollback.alerting.probe_guard.Thread", no_thread)
        with pytest.raises(RuntimeError):
            guard.want(1, ends_at)
    guard.harmed = True
    guard.may_end.release()
    guard.want(2, ends_at)
    until(has_ended, what="the end of the inquiry")
    assert guard.agreed == [1, 2]


def no_thread(**_: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_who_asks_for_many_alerts_is_told_once(guard: Guard) -> None:
    now = guard.world.clock.now()

    def agreed() -> None:
        guard.agreed.append(0)

    for number in (3, 1, 2):
        guard.ask(now + number * MINUTE, agreed)
    guard.harmed = True
    guard.may_end.release()
    until(has_ended, what="the end of the inquiry")
    assert (guard.agreed, guard.asked[0]) == ([0], now + 3 * MINUTE)
