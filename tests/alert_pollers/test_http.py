"""An answer is whole, small enough, in time and JSON, or it is an error; and no secret is ever shown."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollback.adapters.careful_answers import Denied, NotThere, asked_wait, checked_url
from rollback.adapters.careful_http import CarefulHttp, basic, bearer, nobody
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from tests.alert_pollers.benches import StillClock
from tests.flag_stores.raw_server import RawServer, Visit
from tests.health_probes.stand_ins import make_certificate, serving_tls

SECRET = "synthetic-secret-0001"


class Asking:
    """A client and a server whose behaviour each test sets."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.behaviour: Callable[[Visit], None] = lambda visit: visit.answer(200, [])
        self.server = RawServer(lambda visit: self.behaviour(visit)).__enter__()
        self.http = self.client()

    def client(self, **options: float) -> CarefulHttp:
        http = CarefulHttp(self.server.url, "Datadog", monotonic=self.clock.monotonic, **options)  # type: ignore[arg-type]
        self.http = http
        return http

    def get(self, within: float = 5.0) -> object:
        return self.http.get("/x", deadline=self.http.deadline(within), headers={"dd-api-key": SECRET}).document

    def close(self) -> None:
        self.http.close()
        self.server.__exit__(None, None, None)


@pytest.fixture
def asking() -> Iterator[Asking]:
    made = Asking()
    yield made
    made.close()


def test_a_whole_answer_is_its_document(asking: Asking) -> None:
    asking.behaviour = lambda visit: visit.answer(200, [{"id": 1}])
    assert asking.get() == [{"id": 1}]
    assert asking.server.visits[0].headers["dd-api-key"] == SECRET
    assert asking.server.visits[0].headers["accept-encoding"] == "identity"


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

HAZARDS: list[tuple[str, Callable[[Visit], None], type[Exception]]] = [
    ("a login page", lambda v: v.answer(200, b"<html>log in</html>", content_type="text/html"), StoreRefused),
    ("an empty body", lambda v: v.answer(200, b""), StoreUnreachable),
    ("an empty page of text", lambda v: v.answer(200, b"", content_type="text/plain"), StoreRefused),
    ("JSON that is cut off", lambda v: v.answer(200, b'[{"id": 1}, {"i'), StoreUnreachable),
    ("NaN", lambda v: v.answer(200, b'[{"id": NaN}]'), StoreUnreachable),
    ("Infinity", lambda v: v.answer(200, b"[-Infinity]"), StoreUnreachable),
    ("a number that is endless", lambda v: v.answer(200, b"[" + b"9" * 100_000 + b"]"), StoreUnreachable),
    ("nesting that is endless", lambda v: v.answer(200, b"[" * 200_000), StoreUnreachable),
    ("bytes that are no text", lambda v: v.answer(200, b'["\xff\xfe"]'), StoreUnreachable),
    ("a body that is compressed unasked", lambda v: v.answer(200, b"[]", content_encoding="gzip"), StoreRefused),
    ("a body that ends early", lambda v: v.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n[]"), StoreUnreachable),
    ("a chunk that ends early", lambda v: v.send(CHUNKED + b"9\r\n["), StoreUnreachable),
    ("no answer at all", lambda v: v.send(b""), StoreUnreachable),
    ("no HTTP", lambda v: v.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), StoreUnreachable),
    ("201", lambda v: v.answer(201, []), StoreRefused),
    ("204", lambda v: v.send(b"HTTP/1.1 204 No Content\r\n\r\n"), StoreRefused),
    ("206", lambda v: v.answer(206, []), StoreRefused),
    ("301", lambda v: v.answer(301, [], location="https://elsewhere.example.org/"), StoreRefused),
    ("302", lambda v: v.answer(302, [], location="/login"), StoreRefused),
    ("304", lambda v: v.send(b"HTTP/1.1 304 Not Modified\r\n\r\n"), StoreRefused),
    ("400", lambda v: v.answer(400, []), StoreRefused),
    ("401", lambda v: v.answer(401, []), Denied),
    ("403", lambda v: v.answer(403, {"errors": [SECRET]}), Denied),
    ("404", lambda v: v.answer(404, []), NotThere),
    ("408", lambda v: v.answer(408, []), StoreUnreachable),
    ("429", lambda v: v.answer(429, []), StoreUnreachable),
    ("500", lambda v: v.answer(500, {"echo": SECRET}), StoreUnreachable),
    ("503", lambda v: v.answer(503, []), StoreUnreachable),
    ("999", lambda v: v.answer(999, []), StoreUnreachable),
]  # fmt: skip


@pytest.mark.parametrize(("behaviour", "kind"), [case[1:] for case in HAZARDS], ids=[case[0] for case in HAZARDS])
def test_every_other_answer_is_an_error_and_never_no_alerts(
    asking: Asking, behaviour: Callable[[Visit], None], kind: type[Exception]
) -> None:
    asking.behaviour = behaviour
    with pytest.raises(kind) as failed:
        asking.get()
    assert isinstance(failed.value, (StoreUnreachable, StoreRefused))
    told = f"{failed.value} {failed.value.next} {failed.value!r}"
    assert SECRET not in told
    assert "Datadog" in told
    assert "\n" not in told


def test_a_redirect_is_not_followed_with_the_secret(asking: Asking) -> None:
    with RawServer(lambda visit: visit.answer(200, [])) as elsewhere:
        asking.behaviour = lambda visit: visit.answer(307, [], location=f"{elsewhere.url}/x")
        with pytest.raises(StoreRefused, match="redirect"):
            asking.get()
        assert elsewhere.visits == []


def test_an_answer_that_hangs_ends_at_the_limit(asking: Asking) -> None:
    asking.client(timeout=0.2)
    asking.behaviour = lambda visit: visit.hang()
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match=r"within 0\.2 s"):
        asking.get()
    assert time.monotonic() - began < 3


def test_an_answer_that_drips_ends_at_the_limit(asking: Asking) -> None:
    asking.client(timeout=0.3)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    asking.behaviour = lambda visit: visit.drip(head + b"[" + b" " * 99_998 + b"]", 0.02)
    with pytest.raises(StoreUnreachable, match="no complete answer"):
        asking.get()


def test_after_one_that_hangs_the_next_is_asked_anew(asking: Asking) -> None:
    asking.client(timeout=0.2)
    asking.behaviour = lambda visit: visit.hang()
    with pytest.raises(StoreUnreachable):
        asking.get()
    asking.behaviour = lambda visit: visit.answer(200, ["again"])
    asking.http._timeout = 5.0
    assert asking.get() == ["again"]


def test_the_deadline_bounds_several_exchanges_and_nothing_is_sent_after_it(asking: Asking) -> None:
    with pytest.raises(StoreUnreachable, match="No time was left"):
        asking.get(within=-1)
    assert asking.server.visits == []


def test_an_answer_that_is_too_long_is_not_read_to_its_end(asking: Asking) -> None:
    asking.client(max_body=1000)
    asking.behaviour = lambda visit: visit.answer(200, ["x" * 5000])
    with pytest.raises(StoreRefused, match="more than 0 KB"):
        asking.get()


def test_nothing_listens(asking: Asking) -> None:
    asking.server.__exit__(None, None, None)
    with pytest.raises(StoreUnreachable, match="no connection") as failed:
        asking.get()
    assert SECRET not in repr(failed.value.__cause__)


@pytest.mark.parametrize("broken", ["two\nlines", "", " ", "é", "\x00"])
def test_a_secret_that_no_header_can_hold_is_not_sent_and_not_shown(asking: Asking, broken: str) -> None:
    with pytest.raises(StoreRefused, match="header x-key of Datadog") as failed:
        asking.http.get("/x", deadline=asking.http.deadline(5), headers={"x-key": f"{broken}"})
    assert not broken.strip() or broken not in str(failed.value)
    assert asking.server.visits == []


def test_proxy_settings_that_cannot_be_used_are_one_sentence(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://[")
    with pytest.raises(StoreRefused, match="proxy settings"):
        asking.get()


def test_without_a_thread_to_spare_it_is_asked_all_the_same(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    asking.behaviour = lambda visit: visit.answer(200, ["here"])
    started = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "careful-http":
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert asking.get() == ["here"]


def test_over_https_somebody_has_to_vouch_for_the_server(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with serving_tls(certificate) as url:
        for tls, trusted in ((None, False), (ssl.create_default_context(cafile=str(certificate)), True)):
            http = CarefulHttp(url, "Datadog", monotonic=StillClock().monotonic, tls=tls)
            try:
                if trusted:
                    assert http.get("/", deadline=http.deadline(5)).document == {}
                else:
                    with pytest.raises(StoreUnreachable, match="no connection"):
                        http.get("/", deadline=http.deadline(5))
            finally:
                http.close()


def test_it_can_be_shown_without_a_secret(asking: Asking) -> None:
    assert repr(asking.http) == f"CarefulHttp(Datadog, {asking.server.url})"


# -- waiting -----------------------------------------------------------------------------------------------------


def test_a_wait_that_was_asked_for_is_kept_without_asking_again(asking: Asking) -> None:
    asking.behaviour = lambda visit: visit.answer(429, [], x_ratelimit_reset="17")
    with pytest.raises(StoreUnreachable) as first:
        asking.get()
    assert first.value.retry_after == 17
    asking.behaviour = lambda visit: visit.answer(200, ["well"])
    asking.clock.passed += 16
    with pytest.raises(StoreUnreachable) as second:
        asking.get()
    assert second.value.retry_after == 1
    assert len(asking.server.visits) == 1, "nothing may be sent before the time is up"
    asking.clock.passed += 1
    assert asking.get() == ["well"]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "0"}, 0),
        ({"x-ratelimit-reset": "3.5", "retry-after": "12"}, 3.5),
        ({"x-ratelimit-reset": "", "retry-after": "12"}, 12),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 01 Jan 2199 00:00:00 GMT"}, 3600),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_what_a_server_asks_to_wait(headers: dict[str, str], wait: float | None) -> None:
    assert asked_wait(headers) == wait


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["https://api.example.org", "https://example.org:8443/proxy", "http://127.0.0.1:9090", "http://localhost", "http://[::1]:1"],
)  # fmt: skip
def test_secrets_go_over_https_or_stay_on_this_machine(url: str) -> None:
    assert checked_url(f" {url}/ ", "Datadog") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.org",
        "http://example.org",
        "http://10.0.0.1",
        "http://localhost.example.org",
        "ftp://example.org",
        "https://",
        "https://user:password@example.org",
        "https://example.org?x=1",
        "https://example.org#x",
        "https://example.org:99999",
        "https://[",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        checked_url(url, "Datadog")
    assert "password@" not in str(refused.value)


def test_credentials_are_read_when_they_are_needed() -> None:
    held = ["first"]
    headers = bearer(lambda: held[0])
    assert headers() == {"authorization": "Bearer first"}
    held[0] = "second"
    assert headers() == {"authorization": "Bearer second"}
    assert basic(lambda: "user", lambda: "password")() == {"authorization": "Basic dXNlcjpwYXNzd29yZA=="}
    assert nobody() == {}
