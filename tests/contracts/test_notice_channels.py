"""The contract of `NoticeChannel`, passed by the channels over HTTP, by the log, and by the stand-in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback import log
from rollback.adapters.notifiers.log import LogChannel
from rollback.adapters.notifiers.memory import MemoryNoticeChannel
from rollback.adapters.notifiers.slack import SlackChannel
from rollback.adapters.notifiers.teams import TeamsChannel
from rollback.adapters.notifiers.webhook import WebhookChannel
from rollback.alert_ports import Notice, NoticeChannel
from rollback.errors import StoreRefused, StoreUnreachable
from rollback.notice_ports import PerhapsTold
from rollback.sandbox.wire import Answer, text_answer
from tests.fakes.clock import FakeClock
from tests.notifiers.stand_ins import ACCEPTED, HANG, RESET, SLACK_OK, People, Script, a_notice

OVER_HTTP: dict[str, tuple[Callable[..., NoticeChannel], Script]] = {
    "slack": (SlackChannel, SLACK_OK),
    "teams": (TeamsChannel, ACCEPTED),
    "webhook": (WebhookChannel, Answer(204)),
}


class Bench:
    """A channel, and what arrived at its other end."""

    def __init__(self, kind: str) -> None:
        make, says = OVER_HTTP[kind]
        self.people = People(says)
        self.channel: NoticeChannel = make("on-call", self.people.url, clock=FakeClock(), seconds=10.0)

    def arrived(self) -> list[str]:
        return [json.dumps(document) for document in self.people.documents]

    def close(self) -> None:
        self.channel.close()
        self.people.stop()


class MemoryBench:
    def __init__(self, _kind: str) -> None:
        self._memory = MemoryNoticeChannel("on-call")
        self.channel: NoticeChannel = self._memory

    def arrived(self) -> list[str]:
        return self._memory.texts

    def close(self) -> None:
        self.channel.close()


class LogBench:
    """`rollback.log` speaks to whatever its `_logger` is."""

    def __init__(self, _kind: str) -> None:
        self.channel: NoticeChannel = LogChannel("on-call")
        self.lines: list[str] = []
        log._logger = self

    def info(self, name: str, **facts: Any) -> None:
        self.lines.append(f"{name} {facts}")

    def arrived(self) -> list[str]:
        return self.lines

    def close(self) -> None:
        self.channel.close()
        log._logger = None


BENCHES: dict[str, Callable[[str], Any]] = dict.fromkeys(OVER_HTTP, Bench) | {"memory": MemoryBench, "log": LogBench}


@pytest.fixture(params=list(BENCHES))
def bench(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = BENCHES[request.param](request.param)
    yield made
    made.close()


def test_a_channel_has_the_name_it_was_given(bench: Any) -> None:
    assert bench.channel.name == "on-call"


def test_a_notice_arrives_once_and_whole(bench: Any) -> None:
    bench.channel.send(a_notice(text="Off for all.\nsince noon\nproven"))
    (arrived,) = bench.arrived()
    for words in ("Off for all.", "since noon", "proven"):
        assert words in arrived


def test_notices_arrive_in_the_order_in_which_they_are_sent(bench: Any) -> None:
    for number in range(5):
        bench.channel.send(a_notice(f"k{number}", text=f"notice number {number} of some"))
    assert len(bench.arrived()) == 5
    assert all(f"number {number} of" in text for number, text in enumerate(bench.arrived()))


@pytest.mark.parametrize("urgency", ["call", "tell", "record", "a word from the future"])
def test_every_urgency_is_taken(bench: Any, urgency: str) -> None:
    bench.channel.send(a_notice(urgency=urgency, role="SM on va.gov team", feature=None, incident=None))
    assert len(bench.arrived()) == 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=400), role=st.text(max_size=40), key=st.text(max_size=40))
def test_no_words_whatever_they_are_make_sending_fail(bench: Any, text: str, role: str, key: str) -> None:
    before = len(bench.arrived())
    bench.channel.send(Notice(key, None, None, "call", text, role))
    assert len(bench.arrived()) == before + 1


def test_the_log_is_the_notifier_of_processes_without_channels() -> None:
    logged = LogBench("log")
    LogChannel().notify("Off for all.\nproven", feature="secure-messaging", incident=None)
    logged.close()
    LogChannel().notify("while the log is off", feature="secure-messaging", incident=None)
    (line,) = logged.lines
    assert line.startswith("notice ")
    assert "'headline': 'Off for all.'" in line


def test_closing_twice_is_closing_once(bench: Any) -> None:
    bench.channel.close()
    bench.channel.close()
    assert bench.arrived() == []


# -- over HTTP: what an answer means -------------------------------------------------------------------------------


@pytest.fixture(params=list(OVER_HTTP))
def http_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


def test_a_text_longer_than_any_system_takes_arrives_cut(http_bench: Bench) -> None:
    http_bench.channel.send(a_notice(text="\n".join(f"line {number} " + "<&>{{" * 400 for number in range(3000))))
    (arrived,) = http_bench.arrived()
    assert "line 0" in arrived
    assert len(arrived) < 120_000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 415])
def test_a_final_no_is_refused(http_bench: Bench, status: int) -> None:
    http_bench.people.script = [text_answer("no", status)]
    with pytest.raises(StoreRefused, match=str(status)):
        http_bench.channel.send(a_notice())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(http_bench: Bench, status: int) -> None:
    http_bench.people.script = [Answer(status, headers={"location": http_bench.people.url})]
    with pytest.raises(StoreRefused, match="Redirects are not followed"):
        http_bench.channel.send(a_notice())
    assert len(http_bench.people.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429])
def test_turned_away_at_the_door_is_certainly_not_told(http_bench: Bench, status: int) -> None:
    http_bench.people.script = [Answer(status, headers={"retry-after": "7"})]
    with pytest.raises(StoreUnreachable) as caught:
        http_bench.channel.send(a_notice())
    assert not isinstance(caught.value, PerhapsTold)
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize("says", [Answer(500), Answer(502), Answer(503), Answer(504), RESET])
def test_a_failure_after_sending_may_have_been_told(http_bench: Bench, says: Script) -> None:
    http_bench.people.script = [says]
    with pytest.raises(PerhapsTold):
        http_bench.channel.send(a_notice())
    http_bench.channel.send(a_notice())
    assert len(http_bench.people.requests) == 2


def test_a_server_that_is_gone_is_certainly_not_told(http_bench: Bench) -> None:
    http_bench.people.stop()
    with pytest.raises(StoreUnreachable) as caught:
        http_bench.channel.send(a_notice())
    assert not isinstance(caught.value, PerhapsTold)


def test_a_server_that_hangs_ends_with_the_time_it_is_given() -> None:
    for make, _ in OVER_HTTP.values():
        server = People(HANG)
        channel = make("on-call", server.url, clock=FakeClock(), seconds=0.3)
        with pytest.raises(PerhapsTold):
            channel.send(a_notice())
        channel.close()
        server.stop()
        assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["slack", "teams"])
def test_a_login_page_in_between_is_not_taken_for_success(kind: str) -> None:
    bench = Bench(kind)
    page = Answer(200, b"<html>please log in</html>", {"content-type": "text/html; charset=utf-8"})
    bench.people.script = [page]
    try:
        with pytest.raises(PerhapsTold, match="200"):
            bench.channel.send(a_notice())
    finally:
        bench.close()
