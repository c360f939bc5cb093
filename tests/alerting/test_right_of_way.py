"""Whoever turns a feature off goes first, and nobody waits for good."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from rollback.alerting.right_of_way import A_MOMENT, LONGEST, RightOfWay
from tests.fakes.clock import FakeClock


def test_nobody_waits_when_nothing_is_turned_off() -> None:
    way = RightOfWay()
    free, seconds = way.free()
    assert (free.done(), seconds) == (True, 0.0)
    way.give()


def test_others_wait_until_the_last_one_is_done_and_a_moment_at_most() -> None:
    way = RightOfWay(FakeClock().monotonic)
    with way.taken():
        with way.taken():
            free, seconds = way.free()
            assert seconds == A_MOMENT
        assert not free.done()
        assert way.free()[0] is free
    assert free.done()
    assert way.free()[1] == 0.0


def test_an_off_that_takes_long_is_given_way_for_its_first_second_alone() -> None:
    clock = FakeClock()
    way = RightOfWay(clock.monotonic)
    with way.taken():
        clock.sleep(LONGEST - 0.1)
        assert 0.0 < way.free()[1] < A_MOMENT
        clock.sleep(0.2)
        assert way.free()[1] == 0.0
        way.give()


def test_a_thread_that_gives_way_goes_on_at_once_when_it_is_free() -> None:
    clock = FakeClock()  # which stands still: only the end of the off lets the thread go on early
    way = RightOfWay(clock.monotonic)
    gone_on = threading.Event()
    with way.taken():

        def work() -> None:
            way.give()
            gone_on.set()

        thread = threading.Thread(target=work)
        thread.start()
    assert gone_on.wait(5)
    thread.join()


def test_it_is_free_again_when_turning_off_fails() -> None:
    way = RightOfWay()
    try:
        with way.taken():
            raise RuntimeError
    except RuntimeError:
        pass
    assert way.free()[1] == 0.0


def test_nobody_takes_it_while_its_end_is_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who took it then would wait on a future that is about to be done, and end it a second time."""
    entered = threading.Event()

    def turn_off_another() -> None:
        with way.taken():
            entered.set()

    another = threading.Thread(target=turn_off_another)

    class Ending(Future[None]):
        def set_result(self, result: None) -> None:
            if is_first := another.ident is None:
                another.start()
            assert not is_first or not entered.wait(0.2)
            super().set_result(result)

    way = RightOfWay()
    monkeypatch.setattr("rollback.alerting.right_of_way.Future", Ending)
    with way.taken():
        pass
    another.join(20)
    assert entered.is_set()
    assert way.free()[0].done()
