"""What the page is made of, what it tells, and that nothing of it holds up an off."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rollback.server.page.events import VIEWERS_PER_SESSION
from tests.e2e.harness import until
from tests.e2e.worlds import served
from tests.server.api_world import ApiWorld, api_world
from tests.server.page_world import Browser, signed_in
from tests.server.stand_ins import datadog, delivery, status_of

FILES = ["/", "/page/page.css", "/page/icon.svg", "/page/page.js", "/page/dom.js", "/page/cards.js", "/page/actions.js"]
TOLD = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    with api_world(tmp_path_factory.mktemp("serving")) as world:
        yield world


@pytest.fixture
def somebody(world: ApiWorld) -> Iterator[Browser]:
    with signed_in(world) as browser:
        yield browser


@pytest.mark.parametrize("path", [*FILES, "/page/state"])
def test_every_answer_forbids_all_that_is_not_ours(somebody: Browser, path: str) -> None:
    answer = somebody.http.get(path)
    assert answer.status_code == 200
    assert set(answer.headers["content-security-policy"].split("; ")) == TOLD
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("path", FILES)
def test_no_file_calls_elsewhere_or_makes_markup_of_text(somebody: Browser, path: str) -> None:
    text = somebody.http.get(path).text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]", text.replace("// ", "").replace("//www", "")), "another host"
    assert "style=" not in text
    assert not re.search(r"\son[a-z]+=", text), "a script inside markup"
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser"):
        assert word not in text
    assert "{{" not in text, "a place that nothing was put into"


def test_the_document_tells_where_each_feature_stands_and_how_old_that_is(somebody: Browser) -> None:
    until(lambda: somebody.card()["kind"] == "on", what="the first look")
    told = somebody.state()
    card = somebody.card()
    assert card["name"] == "Secure Messaging"
    assert card["flag"] == "default/mhv/secure-messaging"
    assert card["store"].startswith("flipt v2 http://127.0.0.1:")
    assert card["world"].endswith("flag secure-messaging")
    assert card["exposure"] == 100
    assert [one["name"] for one in card["not_covered"]] == ["Mobile app"]
    assert 0 <= told["ages"]["secure-messaging"] < told["stale_after"]
    until(lambda: "parts" in somebody.state()["document"]["server"], what="the server's parts")
    server = somebody.state()["document"]["server"]
    assert {"inbox", "dispatcher", "policies", "sources", "event loop"} <= set(server["parts"])
    assert server["closed_sources"] == {"closed": "NEVER_SET not set"}


def test_a_delivery_shows_with_its_text_as_text(world: ApiWorld, somebody: Browser) -> None:
    title = '<img src=x onerror="alert(1)"> </script>'
    assert status_of(world.server.talk(delivery(datadog("cycle-t", event_title=title)))) == 202
    until(lambda: somebody.state()["document"]["server"].get("deliveries"), what="the delivery")
    [shown] = somebody.state()["document"]["server"]["deliveries"]
    assert (shown["source"], shown["kind"]) == ("datadog", "alerts")
    assert shown["alerts"][0]["title"] == title
    assert somebody.http.get("/page/state").headers["content-type"] == "application/json"


def test_a_feature_whose_policy_breaks_stays_in_sight_and_says_so(tmp_path: Path) -> None:
    with api_world(tmp_path) as world, signed_in(world) as somebody:
        (world.world.cli.policies / "features" / "broken.yaml").write_text("feature: broken\nflag: nonsense\n")
        until(lambda: somebody.card("broken")["error"], what="the look at it")
        card = somebody.card("broken")
        assert (card["kind"], card["word"]) == ("unknown", "UNKNOWN")
        assert "no alert turns it off" in str(card["warnings"])


def test_a_store_that_does_not_answer_is_unknown_and_never_off(tmp_path: Path) -> None:
    with api_world(tmp_path) as world, signed_in(world) as somebody:
        until(lambda: somebody.card()["kind"] == "on", what="the first look")
        world.world.flipt.stop()
        until(lambda: somebody.card()["kind"] == "unknown", what="the look that failed")
        assert somebody.card()["error"]["message"]


def test_the_stream_tells_at_once_then_what_is_new_and_beats_in_between(tmp_path: Path) -> None:
    with api_world(tmp_path) as world, signed_in(world) as somebody, somebody.events() as events:
        kinds: list[str] = []
        names: list[str] = []
        for name, data in events:
            names.append(name)
            cards = data["document"]["features"] if name == "state" and data["document"] else []
            kinds += [card["kind"] for card in cards if card["kind"] not in kinds[-1:]]
            if kinds[-1:] == ["on"] and "-" not in kinds:
                assert somebody.act("sm", "disable").status_code in (200, 202)
                kinds.append("-")
            if kinds[-1:] == ["off"] and name == "beat":
                break
        assert names[0] == "state"
        assert "beat" in names
        assert kinds[kinds.index("-") - 1] == "on"
        assert set(kinds[: kinds.index("-")]) <= {"unknown", "on"}
        assert kinds[-1] == "off"
        versions = somebody.state()["version"]
        assert versions == somebody.state()["version"], "nothing is new, so nothing changes"


def test_one_browsers_windows_leave_connections_for_an_off(world: ApiWorld, somebody: Browser) -> None:
    with ExitStack() as stack:
        for _ in range(VIEWERS_PER_SESSION):
            next(stack.enter_context(somebody.events()))
        assert somebody.http.get("/page/events").status_code == 503
        assert somebody.http.get("/page/state").status_code == 200, "more windows poll"
        with signed_in(world, "viewer") as other, other.events() as events:
            assert next(events)[0] == "state"


def test_the_streams_of_those_who_went_are_forgotten(somebody: Browser) -> None:
    for _ in range(3 * VIEWERS_PER_SESSION):

        def is_let_in() -> bool:
            with somebody.http.stream("GET", "/page/events") as answer:
                return answer.status_code == 200

        until(is_let_in, what="room for another stream")


def test_a_server_that_ends_waits_for_no_viewer(tmp_path: Path) -> None:
    ended: list[float] = []
    with api_world(tmp_path) as world, signed_in(world) as somebody, somebody.events() as events:
        next(events)

        def to_the_end() -> None:
            for _ in events:
                pass
            ended.append(time.monotonic())

        reader = threading.Thread(target=to_the_end)
        reader.start()
        began = time.monotonic()
        world.server.services.stopping.set()
        reader.join(5)
    assert ended
    assert ended[0] - began < 3


def test_many_viewers_cost_one_look_a_second_and_delay_no_off(tmp_path: Path) -> None:
    with api_world(tmp_path) as world, ExitStack() as stack:
        for _ in range(12):
            viewer = stack.enter_context(signed_in(world, "viewer"))
            next(stack.enter_context(viewer.events()))
        person = stack.enter_context(signed_in(world))
        until(lambda: person.card()["kind"] == "on", what="the first look")
        asked = world.world.flipt.count("GET|POST", "^/")
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 3.0, what="three seconds of watching")
        looks = (world.world.flipt.count("GET|POST", "^/") - asked) / 3.0
        assert looks < 15, f"{looks} requests a second to the flag store for thirteen viewers"
        before = time.monotonic()
        answer = person.act("sm", "disable", {"no_wait": True})
        assert answer.status_code in (200, 202)
        assert served(world.world.flipt.url) == 0
        assert time.monotonic() - before < 5


def test_a_world_that_hangs_keeps_nobody_from_turning_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rollback.server.page.reading import Reading

    released = threading.Event()

    def hang(_: Reading, key: str) -> dict[str, Any]:
        released.wait(30)
        raise RuntimeError(key)

    monkeypatch.setattr(Reading, "card", hang)
    try:
        with api_world(tmp_path) as world, signed_in(world) as somebody:
            assert somebody.card()["kind"] == "unknown"
            assert somebody.act("sm", "disable").status_code in (200, 202)
            assert served(world.world.flipt.url) == 0
            assert somebody.state()["ages"] == {"secure-messaging": None}, "never read, and it does not say otherwise"
    finally:
        released.set()
