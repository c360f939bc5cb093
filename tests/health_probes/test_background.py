"""The loop in the background: bounded from outside, and gone after closing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from rollback.adapters.health_probes.background import CLOSE_WITHIN, BackgroundLoop, Closed


async def nothing() -> None:
    """Nothing to free."""


async def name_of_thread() -> str:
    return threading.current_thread().name


def test_work_runs_in_a_thread_of_that_name_and_gives_its_result() -> None:
    loop = BackgroundLoop("in-the-back")
    assert loop.run(name_of_thread, within=5) == "in-the-back"
    loop.close(nothing)
    assert "in-the-back" not in [thread.name for thread in threading.enumerate()]


def test_work_that_does_not_end_is_given_up_and_cancelled_and_the_next_runs() -> None:
    loop = BackgroundLoop("in-the-back")
    cancelled = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.run(endless, within=0.05)
    assert cancelled.wait(5)
    assert loop.run(name_of_thread, within=5) == "in-the-back"
    loop.close(nothing)


def test_work_that_blocks_the_loop_holds_up_neither_the_caller_nor_closing_for_long() -> None:
    loop = BackgroundLoop("stuck")
    released = threading.Event()

    async def block() -> None:
        released.wait(30)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        loop.run(block, within=0.05)
    loop.close(nothing)
    assert time.monotonic() - began < CLOSE_WITHIN + 1
    released.set()


def test_what_work_raises_reaches_the_caller() -> None:
    loop = BackgroundLoop("in-the-back")

    async def fail() -> None:
        raise LookupError("over there")

    with pytest.raises(LookupError, match="over there"):
        loop.run(fail, within=5)
    loop.close(nothing)


def test_after_closing_nothing_runs() -> None:
    loop = BackgroundLoop("in-the-back")
    loop.close(nothing)
    with pytest.raises(Closed):
        loop.run(name_of_thread, within=5)


def test_the_last_work_is_done_before_the_end_and_may_fail() -> None:
    done = threading.Event()

    async def last() -> None:
        done.set()
        raise OSError("the other side is gone")

    loop = BackgroundLoop("in-the-back")
    loop.run(name_of_thread, within=5)
    loop.close(last)
    assert done.is_set()
