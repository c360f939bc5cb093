"""Rounds from beginning to end: how long they last, what they leave behind, how many there can be."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rollback.adapters.health_probes.exchange import Contact, ask, prepare
from rollback.adapters.health_probes.http import ROUND_MARGIN
from rollback.core.policy import Endpoint
from rollback.sandbox import SmApi
from rollback.sandbox.wire import Answer, Request, json_answer
from tests.health_probes.stand_ins import CONTROL, FOLDERS, answering, endpoint, health, probing


@pytest.fixture
def api() -> Iterator[SmApi]:
    with SmApi() as running:
        yield running


def probe_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("health-probe")]


def test_a_round_in_which_everything_hangs_ends_in_time(api: SmApi) -> None:
    api.behave(mode="hang")
    checks = health(*(endpoint(api.url + FOLDERS, f"e{index}", timeout="300ms") for index in range(20)))
    with probing(checks) as probe:
        began = time.monotonic()
        found = probe.measure()
        lasted = time.monotonic() - began
    assert lasted < 0.3 + ROUND_MARGIN + 0.5  # the rest is for a busy machine
    assert 0.0 not in [each.harm for each in found]
    assert 1.0 in [each.harm for each in found]


def test_the_next_round_after_a_hanging_one_is_good_again(api: SmApi) -> None:
    with probing(health(endpoint(api.url + FOLDERS, timeout="100ms"), control=api.url + CONTROL)) as probe:
        for _ in range(3):
            api.behave(mode="hang")
            assert probe.measure()[0].harm == 1.0
            api.behave(mode="healthy")
            assert probe.measure()[0].harm == 0.0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_questions_that_were_given_up_leave_no_connection_behind(api: SmApi) -> None:
    with probing(health(endpoint(api.url + FOLDERS, timeout="20ms"))) as probe:
        api.behave(mode="hang")
        probe.measure()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            assert probe.measure()[0].harm == 1.0
        api.behave(mode="healthy")
        assert probe.measure()[0].harm == 0.0
        for _ in range(500):  # the server, in this process too, takes a moment to see that they are closed
            if len(os.listdir("/proc/self/fd")) <= before + 4:
                break
            threading.Event().wait(0.01)
        assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_connections_are_kept_between_rounds() -> None:
    threads: set[int] = set()

    def handler(_: Request) -> Answer:
        threads.add(threading.get_ident())  # the stand-in has one thread for each connection
        return json_answer({})

    with answering(handler) as url, probing(health(endpoint(url))) as probe:
        assert [probe.measure()[0].harm for _ in range(20)] == [0.0] * 20
    assert len(threads) == 1


def test_rounds_from_several_threads_do_not_mix(api: SmApi) -> None:
    checks = health(endpoint(api.url + FOLDERS, "good"), endpoint(api.url + "/nothing", "bad"))
    with probing(checks) as probe, ThreadPoolExecutor(6) as threads:
        rounds = list(threads.map(lambda _: [each.harm for each in probe.measure()], range(60)))
    assert rounds == [[0.0, 1.0]] * 60


def test_a_round_can_be_asked_for_inside_a_running_event_loop(api: SmApi) -> None:
    async def inside() -> float | None:
        return probe.measure()[0].harm

    with probing(health(endpoint(api.url + FOLDERS))) as probe:
        assert asyncio.run(inside()) == 0.0


def test_closing_ends_thread_and_connections_and_what_follows_is_missing(api: SmApi) -> None:
    with probing(health(endpoint(api.url + FOLDERS))) as probe:
        assert probe.measure()[0].harm == 0.0
        assert probe_threads()
        probe.close()
        assert not probe_threads()
        found = probe.measure()[0]
        assert (found.harm, found.detail) == (None, "the probe is closed")
        probe.close()
        assert not probe_threads()


def test_closing_does_not_wait_for_a_round_that_hangs(api: SmApi) -> None:
    api.behave(mode="hang")
    with probing(health(endpoint(api.url + FOLDERS, timeout="30s"))) as probe, ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(probe.measure)
        while not api.count("GET", FOLDERS):
            threading.Event().wait(0.01)
        began = time.monotonic()
        probe.close()
        (found,) = hanging.result(5)
    assert time.monotonic() - began < 2
    assert (found.harm, found.detail) == (None, "the probe is closed")


def test_a_probe_that_was_never_asked_starts_nothing_and_closes(api: SmApi) -> None:
    with probing(health(endpoint(api.url + FOLDERS))):
        assert not probe_threads()
    assert api.count() == 0


def test_a_client_that_fails_on_this_side_is_no_harm(api: SmApi) -> None:
    async def question() -> tuple[Contact, float | None, str]:
        client = httpx.AsyncClient()
        await client.aclose()
        outcome = await ask(client, prepare(Endpoint.model_validate(endpoint(api.url + FOLDERS)), None))
        return outcome.contact, outcome.harm, outcome.detail

    assert asyncio.run(question()) == (Contact.NOT_ASKED, None, "not asked: RuntimeError on this side")
