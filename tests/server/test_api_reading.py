"""What can be read over the interface: standing, cases, the history page by page, deliveries. None writes to a flag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollback.core.history import Actor, Entry, EntryKind
from rollback.core.model import Incident, Severity, State
from rollback.incident_codec import incident_to_json
from rollback.server.api_features import summaries
from tests.e2e.harness import until
from tests.server.api_world import ApiWorld, api_world
from tests.server.stand_ins import delivery


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    """A feature with one case that is over and one that is open."""
    with api_world(tmp_path_factory.mktemp("reading")) as world:
        world.world.mend()
        first = world.post("/features/sm/open", {"severity": "low", "reason": "typo"}).json()
        world.stream("POST", "/features/sm/close", {"reason": "fixed"})
        assert world.get(f"/incidents/{first['incident']}").json()["state"] == "resolved"
        world.world.break_it()
        world.post("/features/sm/disable", {"reason": "it is bad"}).raise_for_status()
        yield world


def test_features_and_one_feature_tell_the_same(world: ApiWorld) -> None:
    (listed,) = world.get("/features").json()["features"]
    one = world.get("/features/sm", role="viewer").json()
    for name in ("feature", "state", "severity", "incident", "exposure", "off_proven"):
        assert listed[name] == one[name], name
    assert (one["exposure"], one["off_proven"], one["exit"]) == (0, True, 0)
    assert world.get("/flags/default/mhv/secure-messaging").json()["exposure"] == 0


def test_a_case_can_be_used_in_place_of_its_feature(world: ApiWorld) -> None:
    case = world.get("/features/sm").json()["incident"]
    assert world.get(f"/features/{case}").json()["incident"] == case


def test_cases_are_listed_newest_first_and_told_with_their_history(world: ApiWorld) -> None:
    cases = world.get("/features/sm/incidents").json()["incidents"]
    assert [(case["severity"], case["state"]) for case in cases] == [("critical", "disabled"), ("low", "resolved")]
    assert [case["ended_at"] is None for case in cases] == [True, False]
    told = world.get(f"/incidents/{cases[0]['incident']}").json()
    assert told["reason"] == "" or told["opened_by"] == "a-responder"
    assert {row["incident"] for row in told["entries"]} == {cases[0]["incident"]}
    assert "off_proven" in [row["name"] for row in told["entries"]]


def test_the_history_can_be_read_in_pages_without_loss_or_doubles(world: ApiWorld) -> None:
    whole = world.get("/features/sm/transitions", limit=500).json()
    assert whole["next"] is None
    read: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = world.get("/features/sm/transitions", after=after, limit=3).json()
        read += page["entries"]
        after = page["next"]
    assert [row["entry_id"] for row in read] == [row["entry_id"] for row in whole["entries"]]
    assert len(read) > 10
    assert world.get("/features/sm/transitions", after=10_000).json()["entries"] == []


def test_the_history_of_one_case_alone(world: ApiWorld) -> None:
    case = world.get("/features/sm").json()["incident"]
    rows = world.get("/transitions", incident=case, limit=500).json()["entries"]
    assert rows
    assert {row["incident"] for row in rows} == {case}


def test_pages_have_bounds(world: ApiWorld) -> None:
    for query in ({"limit": 0}, {"limit": 501}, {"after": -1}, {"limit": "many"}):
        assert world.get("/transitions", **query).status_code == 400


def test_whether_the_history_is_whole(world: ApiWorld) -> None:
    told = world.get("/verify", flags="true").json()
    assert (told["ok"], told["exit"]) == (True, 0)


def test_a_history_that_is_not_whole_is_told_with_exit_7(tmp_path: Path) -> None:
    import sqlite3

    with api_world(tmp_path) as world:
        world.post("/features/sm/note", {"text": "one"}).raise_for_status()
        with sqlite3.connect(world.world.cli.ledger) as ledger:
            ledger.execute("DROP TRIGGER entries_never_update")
            ledger.execute("UPDATE entries SET hash = ?", ("0" * 64,))
        ledger.close()
        told = world.get("/verify")
        assert told.json()["exit"] == 7
        assert world.get("/features/sm").status_code == 200, "a broken ledger stops nobody who looks"
        assert world.post("/features/sm/disable").status_code == 200


def test_deliveries_and_what_became_of_them(world: ApiWorld) -> None:
    assert world.server.talk(delivery()).startswith(b"HTTP/1.1 202")
    until(lambda: bool(world.get("/inbox").json()["deliveries"]), what="the delivery")
    (kept,) = world.get("/inbox", limit=5).json()["deliveries"]
    assert (kept["source"], kept["kind"], kept["outcome"]) == ("datadog", "alerts", "")
    assert kept["alerts"][0]["edge"] == "fired"
    assert kept["received_at"].endswith("Z")


def test_no_secret_is_in_any_answer(world: ApiWorld) -> None:
    for path in ("/features", "/transitions", "/inbox", "/verify"):
        text = world.get(path).text
        assert not any(secret in text for secret in world.secrets.values())


def test_the_description_names_the_scheme_and_every_status(world: ApiWorld) -> None:
    told = world.http.get("/openapi.json").json()
    assert told["components"]["securitySchemes"]["token"] == {
        "type": "http",
        "scheme": "bearer",
        "description": told["components"]["securitySchemes"]["token"]["description"],
    }
    paths = {path: one for path, one in told["paths"].items() if path.startswith("/api/v1/")}
    assert len(paths) > 20
    for path, one in paths.items():
        for method, operation in one.items():
            assert operation["security"] == [{"token": []}], path
            assert {"400", "401", "403", "503"} <= operation["responses"].keys(), path
            assert operation["x-permission"], path
            assert operation["summary"], path
            if method == "post":
                assert "application/json" in operation["requestBody"]["content"], path
    disable = paths["/api/v1/features/{feature}/disable"]["post"]
    assert {"200", "202", "404", "502", "503", "504"} <= disable["responses"].keys()
    assert disable["requestBody"].get("required", False) is False


# -- cases from entries --------------------------------------------------------------------------------------------

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(state: State, epoch: int, number: int = 0, **fields: object) -> Entry:
    image = Incident("f-1", "f", Severity.CRITICAL, state, NOON, NOON, epoch=epoch)
    values: dict[str, object] = {"after": incident_to_json(image), **fields}
    return Entry(f"e-{number}", NOON, "f", EntryKind.TRANSITION, "x", Actor("a"), incident="f-1", epoch=epoch, **values)  # type: ignore[arg-type]


def test_a_late_entry_of_an_older_epoch_does_not_change_what_a_case_is() -> None:
    (case,) = summaries([entry(State.DISABLED, 1), entry(State.DISABLING, 2), entry(State.RESOLVED, 1)])
    assert (case["state"], case["epoch"], case["ended_at"]) == ("disabling", 2, None)


def test_an_image_that_cannot_be_read_hides_no_other_case() -> None:
    (case,) = summaries([entry(State.DISABLED, 1), entry(State.RESOLVED, 2, after={"state": "nonsense"})])
    assert case["state"] == "disabled"


def test_a_case_that_was_opened_a_moment_too_late_is_none() -> None:
    late = entry(State.TRIGGERED, 0, 2)
    image = dict(late.after or {}, incident_id="f-2")
    late = replace(late, incident="f-2", after=image)
    attached = replace(
        late, entry_id="e-3", kind=EntryKind.FACT, name="case_attached", data={"to": "f-1", "was": "f-2"}
    )
    assert [case["incident"] for case in summaries([entry(State.DISABLED, 1), late, attached])] == ["f-1"]
