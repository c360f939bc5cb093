"""What each odd answer of a metric system is worth, over real HTTP. None of them is healthy without data.

The table in docs/evidence-sources.md has the same lines; a test compares them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rollback.core.evidence import Verdict
from rollback.evidence_book import EvidenceBook, Stage
from rollback.ports import Measurement
from rollback.sandbox.metrics_api import Traffic
from rollback.sandbox.wire import Answer, Dropped, Request
from tests.health_probes.metric_benches import KINDS, counted, health, probing, standing_in
from tests.health_probes.stand_ins import StillClock, refusing_url, talking

DOCS = Path(__file__).parents[2] / "docs" / "evidence-sources.md"
Edit = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. `verdict`: good, harm, or missing. `kinds`: whose answer can look so."""

    name: str
    verdict: str
    traffic: dict[str, Traffic] = field(default_factory=lambda: {"web": Traffic(100, 0)})
    edit: Edit | None = None
    fault: Callable[[Request], Answer | None] | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = KINDS


def only(name: str, verdict: str, requests: Any = 100, errors: Any = 0, **options: Any) -> Case:
    return Case(name, verdict, {"web": Traffic(requests, errors)}, **options)


def answer(status: int, body: bytes = b"{}", **headers: str) -> Callable[[Request], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Answer(status, body, {"content-type": "application/json", **named})


def reset(_: Request) -> Answer:
    raise Dropped(reset=True)


def series_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["series"] if "series" in document else document["data"]["result"]
    return found


def points_of(document: dict[str, Any]) -> list[list[Any]]:
    found: list[list[Any]] = [
        point for one in series_of(document) for point in one.get("pointlist", one.get("values", []))
    ]
    return found


def with_values(value: Any) -> Edit:
    """Every number in the answer is `value`; for Prometheus as text, unless it is not meant to be."""

    def edit(document: dict[str, Any]) -> dict[str, Any]:
        for point in points_of(document):
            point[1] = value
        return document

    return edit


def with_times(seconds: int) -> Edit:
    def edit(document: dict[str, Any]) -> dict[str, Any]:
        factor = 1000 if "series" in document else 1
        for point in points_of(document):
            point[0] += seconds * factor
        return document

    return edit


def with_fields(**fields: Any) -> Edit:
    return lambda document: {**document, **fields}


def in_series(change: Callable[[dict[str, Any]], None]) -> Edit:
    def edit(document: dict[str, Any]) -> dict[str, Any]:
        for one in series_of(document):
            change(one)
        return document

    return edit


def double_points(one: dict[str, Any]) -> None:
    key = "pointlist" if "pointlist" in one else "values"
    one[key] = [point for point in one[key] for _ in range(2)]


def double_series(document: dict[str, Any]) -> dict[str, Any]:
    series_of(document).extend(copy.deepcopy(series_of(document)))
    return document


def drop_every_other(one: dict[str, Any]) -> None:
    one["pointlist"] = one["pointlist"][::2]


def no_series(document: dict[str, Any]) -> dict[str, Any]:
    series_of(document).clear()
    return document


def revising() -> Edit:
    """A request more in everything that is told, each time that it is asked."""
    asked = [0]

    def edit(document: dict[str, Any]) -> dict[str, Any]:
        asked[0] += 1
        for point in points_of(document):
            point[1] = type(point[1])(float(point[1]) + asked[0]) if isinstance(point[1], str) else point[1] + asked[0]
        return document

    return edit


def gone_after(minutes: int) -> Callable[[int], float | None]:
    start = int(StillClock().now().timestamp())
    return lambda bucket: None if bucket >= start + minutes * 60 else 100.0


DATADOG, PROMETHEUS = ("datadog_metrics",), ("prometheus",)
BY_APP = {"by_tag": {"tag": "app", "maximum": 5}}
WEB_AND_MOBILE = {"web": Traffic(1000, 0), "mobile": Traffic(50, 0)}

CASES = [
    only("traffic without errors", "good"),
    only("traffic with many errors", "harm", errors=50),
    only("everything fails", "harm", errors=100),
    only("zero traffic", "missing", requests=0),
    only("traffic below the minimum volume", "missing", requests=19),
    only("errors and no requests at all", "missing", requests=lambda _: None, errors=5),
    only("requests and no word about errors", "missing", errors=lambda _: None),
    only(
        "requests and no word about errors, and the policy says that this is zero",
        "good",
        errors=lambda _: None,
        policy={"absent_errors": "zero"},
    ),
    only("more errors than requests", "missing", errors=101),
    only("an empty answer", "missing", edit=no_series),
    only("an empty answer where absent errors are zero", "missing", edit=no_series, policy={"absent_errors": "zero"}),
    only("null points", "missing", edit=with_values(None)),
    only("NaN", "missing", edit=with_values("NaN"), kinds=PROMETHEUS),
    only("NaN as JSON", "missing", fault=answer(200, b'{"status":"ok","series":[{"pointlist":[[1.0,NaN]]}]}')),
    only("infinite", "missing", edit=with_values("+Inf"), kinds=PROMETHEUS),
    only("infinite as JSON", "missing", fault=answer(200, b'{"status":"ok","series":[{"pointlist":[[1.0,1e999]]}]}')),
    only("negative counts", "missing", edit=with_values(-5), kinds=DATADOG),
    only("negative counts as text", "missing", edit=with_values("-5"), kinds=PROMETHEUS),
    only("huge counts", "missing", requests=10**15, errors=0),
    only("numbers as text", "missing", edit=with_values("100"), kinds=DATADOG),
    only("numbers where text belongs", "missing", edit=with_values(100), kinds=PROMETHEUS),
    only("true for a number", "missing", edit=with_values(True)),
    only("gaps between buckets", "missing", edit=in_series(drop_every_other), kinds=DATADOG, policy={"window": "2m"}),
    only("two points of one time", "missing", edit=in_series(double_points)),
    only("two series where there is one", "missing", edit=double_series),
    only("points of the future", "missing", edit=with_times(3600)),
    only("stale points", "missing", edit=with_times(-3600)),
    only("points off the beginning of a bucket", "missing", edit=with_times(7)),
    only("an answer about another time", "missing", edit=with_fields(from_date=1_000_000_000_000), kinds=DATADOG),
    only("a window that is revised when asked again", "missing", edit=revising()),
    only("another unit than declared", "missing", policy={"unit": "byte"}, kinds=DATADOG),
    only("the declared unit", "good", policy={"unit": "request"}, kinds=DATADOG),
    only(
        "no unit where one is declared",
        "missing",
        policy={"unit": "request"},
        kinds=DATADOG,
        edit=in_series(lambda one: one.update(unit=None)),
    ),
    only(
        "a rate instead of a count",
        "missing",
        kinds=DATADOG,
        edit=in_series(lambda one: one.update(unit=[None, {"name": "second"}])),
    ),
    only(
        "buckets that do not fit the window",
        "missing",
        edit=in_series(lambda one: one.update(interval=7)),
        kinds=DATADOG,
    ),
    only(
        "the interval in milliseconds", "good", edit=in_series(lambda one: one.update(interval=60_000)), kinds=DATADOG
    ),
    only("a failed query with status 200", "missing", edit=with_fields(status="error", error="no such metric")),
    only(
        "data that may be partial (warnings)",
        "missing",
        edit=with_fields(warnings=["store unavailable"]),
        kinds=PROMETHEUS,
    ),
    only(
        "a vector instead of a matrix",
        "missing",
        kinds=PROMETHEUS,
        edit=lambda document: {**document, "data": {**document["data"], "resultType": "vector"}},
    ),
    only("another document", "missing", fault=answer(200, b'{"hello": "world"}')),
    only("a list", "missing", fault=answer(200, b"[]")),
    only("truncated JSON", "missing", fault=answer(200, b'{"status":"ok","series":[{"pointlist":[[1700000000000')),
    only("an empty body", "missing", fault=answer(200, b"")),
    only(
        "HTML of a login page",
        "missing",
        fault=lambda _: Answer(200, b"<html>Sign in</html>", {"content-type": "text/html"}),
    ),
    only("a redirect to a login page", "missing", fault=answer(302, b"", location="https://login.example.org/")),
    only("401", "missing", fault=answer(401)),
    only("403", "missing", fault=answer(403, b'{"errors":["Forbidden"]}')),
    only("404", "missing", fault=answer(404)),
    only("422", "missing", fault=answer(422)),
    only("429", "missing", fault=answer(429, b'{"errors":["Rate limit"]}', x_ratelimit_reset="30")),
    only("500", "missing", fault=answer(500)),
    only("503", "missing", fault=answer(503)),
    only("a body that is too large", "missing", fault=answer(200, b'{"x":"' + b"a" * 5_000_000 + b'"}')),
    only("a connection that is reset", "missing", fault=reset),
    only("an encoding that was not asked for", "missing", fault=answer(200, b"{}", content_encoding="gzip")),
    Case(
        "several series and no by_tag",
        "missing",
        WEB_AND_MOBILE,
        policy={"requests": "x requests by {app}"},
        kinds=DATADOG,
    ),
    Case("every part is well", "good", WEB_AND_MOBILE, policy=BY_APP),
    Case(
        "one part is broken and the whole looks well",
        "harm",
        {"web": Traffic(10_000, 0), "mobile": Traffic(60, 40)},
        policy=BY_APP,
    ),
    Case("one part is gone", "missing", {"web": Traffic(1000, 0), "mobile": Traffic(gone_after(1), 0)}, policy=BY_APP),
    Case(
        "one part is not grouped as declared",
        "missing",
        WEB_AND_MOBILE,
        policy=BY_APP,
        kinds=DATADOG,
        edit=in_series(lambda one: one.update(tag_set=["host:a"])),
    ),
]


def verdict(found: list[Measurement]) -> str:
    """What an evidence book makes of it: harm, good (all pass), missing (no data, or a part without any)."""
    book = EvidenceBook(Stage(0, 1, 1, "", "test"), 0.02, 0.01, 0.01, lambda _name, _data: None)
    book.observe([Measurement("web-errors", StillClock().now(), None, "start", waiting=True)])
    book.observe(found)
    judged = book.judge(soaked=True, expired=True)
    if judged.verdict is Verdict.HEALTHY:
        return "good"
    return "harm" if judged.verdict is Verdict.UNHEALTHY else "missing"


def measured(kind: str, case: Case, *, url: str | None = None) -> list[Measurement]:
    """Nine windows of a case, without the try-out."""
    clock = StillClock()
    with standing_in(traffic=case.traffic, edit=case.edit, fault=case.fault) as api:
        policy = {**counted(kind, url or api.url, **case.policy), "timeout": "2s"}
        with probing(health(policy), clock) as probe:
            probe.measure()
            found = []
            for _ in range(20):
                clock.passed += 60
                found += [one for one in probe.measure() if not one.waiting]
            return found


PAIRS = [(case, kind) for case in CASES for kind in case.kinds]


@pytest.mark.parametrize(("case", "kind"), PAIRS, ids=[f"{case.name}, {kind}" for case, kind in PAIRS])
def test_what_an_answer_is_worth(case: Case, kind: str) -> None:
    found = measured(kind, case)
    assert found, "a probe that says nothing at all would be waited for in vain"
    assert verdict(found) == case.verdict
    for one in found:
        assert 0 < len(one.detail) <= 200
        assert one.harm is None or (one.total is not None and one.total >= 1)
        assert "http" not in one.detail
    if case.verdict == "missing":
        parts = {one.metric for one in found}
        assert any(all(one.harm is None for one in found if one.metric == name) for name in parts) or any(
            found[place].harm is None for place in range(-len(parts), 0)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_system_that_is_not_there_or_hangs_is_missing(kind: str) -> None:
    assert verdict(measured(kind, only("", ""), url=refusing_url())) == "missing"
    with talking(lambda _sock, stop: _wait(stop)) as url:
        clock = StillClock()
        with probing(health({**counted(kind, url), "timeout": "100ms"}), clock) as probe:
            (found,) = probe.measure()
    assert found.harm is None
    assert "within 0.1 s" in found.detail or "in time" in found.detail


def _wait(stop: Any) -> None:
    stop.wait(10)


def test_the_table_in_the_documentation_is_this_one() -> None:
    lines = re.findall(r"^\| (.+?) \| (good|harm|missing) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines == [(case.name, case.verdict) for case in CASES]
    assert sum(word == "missing" for _, word in lines) >= 20
