"""Version, planned silence and exposure decide what of a round means anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollback.adapters.health_probes.combined import CombinedHealthProbe, Part
from rollback.adapters.health_probes.maintenance_windows import active_services
from rollback.adapters.health_probes.memory import MemoryHealthProbe
from rollback.adapters.health_probes.reading_back import Unread
from rollback.adapters.health_probes.version import is_same_commit
from rollback.ports import Measurement
from rollback.sandbox.wire import Answer, Request, WireServer, json_answer
from tests.health_probes.metric_benches import health, probing
from tests.health_probes.stand_ins import StillClock, answering, endpoint, refusing_url

FIX = "c0817ae4d3b2a1908f7e6d5c4b3a29180f7e6d5c"
OTHER = "1aa0268a00000000000000000000000000000000"


class Application:
    """An application with a healthy endpoint, a version and maintenance windows, all set by hand."""

    def __init__(self) -> None:
        self.versions: list[Any] = [FIX]
        self.windows: Any = []
        self.status = 200
        self.asked: list[Request] = []
        self.server = WireServer(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.path == "/version":
            told = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
            return json_answer(told if isinstance(told, (dict, list)) else {"git_revision": told}, self.status)
        if request.path == "/maintenance":
            return json_answer({"data": self.windows}, self.status)
        return json_answer({})

    def section(self, **sections: Any) -> Any:
        """A health section of its one endpoint."""
        return health(endpoints=[endpoint(f"{self.server.url}/folders")], **sections)

    def version(self, **fields: Any) -> dict[str, Any]:
        return {"url": f"{self.server.url}/version", "timeout": "2s", "steady_for": "0s", **fields}

    def maintenance(self, **fields: Any) -> dict[str, Any]:
        base = {"url": f"{self.server.url}/maintenance", "timeout": "2s", "every": "1s"}
        return {**base, "services": ["mhv_sm", "mhv_platform"], **fields}


@pytest.fixture
def app() -> Any:
    made = Application()
    yield made
    made.server.stop()


def one_round(section: Any, *, clock: StillClock | None = None, expects: str = "") -> Measurement:
    with probing(section, clock or StillClock(), expects=lambda: expects) as probe:
        (found,) = probe.measure()
        return found


# -- the version -------------------------------------------------------------------------------------------------------


def test_the_fix_counts_by_its_first_digits(app: Application) -> None:
    for wanted in (FIX, FIX[:7], FIX[:12].upper()):
        assert one_round(app.section(version=app.version()), expects=wanted).harm == 0.0


def test_another_version_than_the_fix_makes_the_round_missing_however_healthy_it_looks(app: Application) -> None:
    app.versions = [OTHER]
    found = one_round(app.section(version=app.version()), expects=FIX)
    assert (found.harm, found.detail) == (None, "another version answers than the fix")
    assert not found.waiting


def test_a_version_that_changes_during_the_round_makes_it_missing(app: Application) -> None:
    app.versions = [FIX, OTHER]
    assert one_round(app.section(version=app.version()), expects=FIX).harm is None
    app.versions = [OTHER, FIX]
    assert one_round(app.section(version=app.version()), expects=FIX).harm is None


def test_without_a_named_fix_two_versions_are_still_one_too_many(app: Application) -> None:
    assert one_round(app.section(version=app.version())).harm == 0.0
    app.versions = [FIX, OTHER]
    found = one_round(app.section(version=app.version()))
    assert (found.harm, found.detail) == (None, "two versions answer")


@pytest.mark.parametrize("told", [{}, [], {"git_revision": None}, {"git_revision": 7}, {"git_revision": ""}])
def test_an_unknown_version_is_missing_unless_the_policy_can_do_without(app: Application, told: Any) -> None:
    app.versions = [told]
    assert one_round(app.section(version=app.version()), expects=FIX).harm is None
    assert one_round(app.section(version=app.version(required=False)), expects=FIX).harm == 0.0


def test_a_version_that_cannot_be_compared_with_the_fix_is_unknown(app: Application) -> None:
    app.versions = ["v2026.11"]
    assert one_round(app.section(version=app.version()), expects=FIX).harm is None
    app.versions = [FIX]
    assert one_round(app.section(version=app.version()), expects="abc123").harm is None
    assert one_round(app.section(version=app.version()), expects="release-7").harm is None


@pytest.mark.parametrize("url", [None, "http://metrics.example.org/version"])
def test_a_version_that_cannot_be_asked_is_unknown(app: Application, url: str | None) -> None:
    found = one_round(app.section(version=app.version(url=url)), expects=FIX)
    assert found.harm is None
    assert found.detail.startswith("the version is not known")


def test_a_version_endpoint_out_of_reach_is_unknown_and_its_address_is_not_told(app: Application) -> None:
    found = one_round(app.section(version=app.version(url=refusing_url() + "/version")), expects=FIX)
    assert found.harm is None
    assert "127.0.0.1" not in found.detail


def test_each_look_is_a_connection_of_its_own_so_that_every_instance_may_answer(app: Application) -> None:
    one_round(app.section(version=app.version()), expects=FIX)
    looks = [request for request in app.asked if request.path == "/version"]
    assert len(looks) == 2
    assert {request.headers.get("connection") for request in looks} == {"close"}


def test_nothing_counts_until_the_right_version_has_answered_for_a_while(app: Application) -> None:
    clock, found = StillClock(), []
    with probing(app.section(version=app.version(steady_for="60s")), clock, expects=lambda: FIX) as probe:
        for second in (0, 30, 59, 60, 61):
            clock.passed = second
            found.append(probe.measure()[0])
        app.versions = [OTHER]
        assert probe.measure()[0].harm is None
        app.versions = [FIX]
        clock.passed = 62
        found.append(probe.measure()[0])
        clock.passed = 122
        found.append(probe.measure()[0])
    assert [one.harm for one in found] == [None, None, None, 0.0, 0.0, None, 0.0]
    assert [one.waiting for one in found] == [True, True, True, False, False, True, False]


def test_another_fix_is_compared_from_the_next_round_on(app: Application) -> None:
    wanted = [FIX]
    with probing(app.section(version=app.version()), StillClock(), expects=lambda: wanted[0]) as probe:
        assert probe.measure()[0].harm == 0.0
        wanted[0] = OTHER
        assert probe.measure()[0].harm is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (FIX, FIX[:7], True),
        (FIX[:7], FIX.upper(), True),
        (FIX, OTHER, False),
        (FIX[:6], FIX, None),
        ("", FIX, None),
        ("main", FIX, None),
        (FIX[:8] + "g", FIX, None),
    ],
)
def test_commits_are_compared_by_seven_digits_at_least(one: str, other: str, same: bool | None) -> None:
    assert is_same_commit(one, other) is same


# -- planned silence ---------------------------------------------------------------------------------------------------


def planned(service: str, begins: int, ends: int, **attributes: Any) -> dict[str, Any]:
    """A window of a service, in minutes from now."""
    now = StillClock().now()
    bounds = [(now + timedelta(minutes=minutes)).isoformat() for minutes in (begins, ends)]
    told = {"externalService": service, "description": "x", "startTime": bounds[0], "endTime": bounds[1]}
    return {"id": "139", "type": "maintenance_windows", "attributes": {**told, **attributes}}


def test_an_active_window_silences_every_probe(app: Application) -> None:
    app.windows = [planned("mhv_sm", -5, 60)]
    found = one_round(app.section(maintenance=app.maintenance()))
    assert (found.harm, found.detail) == (None, "silence during maintenance of mhv_sm")


@pytest.mark.parametrize(
    "windows", [[], [planned("mhv_mr", -5, 60)], [planned("mhv_sm", -60, -5)], [planned("mhv_sm", 5, 60)]]
)
def test_other_services_and_other_times_change_nothing(app: Application, windows: list[dict[str, Any]]) -> None:
    app.windows = windows
    assert one_round(app.section(maintenance=app.maintenance())).harm == 0.0


def test_a_window_ends_at_its_end_and_begins_at_its_beginning() -> None:
    now = StillClock().now()
    assert list(active_services({"data": [planned("a", -5, 0)]}, now)) == []
    assert list(active_services({"data": [planned("a", 0, 5)]}, now)) == ["a"]


def test_snake_case_is_understood_as_well() -> None:
    now = StillClock().now()
    told = {"external_service": "a", "start_time": now.isoformat(), "end_time": (now + timedelta(hours=1)).isoformat()}
    assert list(active_services({"data": [{"attributes": told}]}, now)) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"data": None},
        {"data": [{}]},
        {"data": [{"attributes": {}}]},
        {"data": [planned("a", 0, 5, startTime="tomorrow")]},
        {"data": [planned("a", 0, 5, endTime=None)]},
        {"data": [planned("a", 0, 5, endTime="2026-11-23T04:00:00")]},
        {"data": [planned("a", 0, 5, externalService=7)]},
        {"data": [planned("a", 0, 5)] * 1001},
    ],
)
def test_a_list_that_cannot_be_read_is_unknown_and_not_empty(document: Any) -> None:
    with pytest.raises(Unread):
        list(active_services(document, StillClock().now()))


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_maintenance_that_is_not_known_is_missing_unless_the_policy_can_do_without(
    app: Application, status: int
) -> None:
    app.status = status
    assert one_round(app.section(maintenance=app.maintenance())).harm is None
    assert one_round(app.section(maintenance=app.maintenance(required=False))).harm == 0.0


def test_the_list_is_not_asked_for_more_often_than_the_policy_says(app: Application) -> None:
    clock = StillClock()
    with probing(app.section(maintenance=app.maintenance(every="30s")), clock) as probe:
        for second in range(61):
            clock.passed = second
            probe.measure()
    assert sum(request.path == "/maintenance" for request in app.asked) == 3


# -- windows and exposure ----------------------------------------------------------------------------------------------


class Window:
    """A probe with one window per round, the minute before it."""

    metrics = ("errors",)

    def __init__(self, clock: StillClock) -> None:
        self._clock = clock
        self.rounds = 0

    def measure(self) -> list[Measurement]:
        self.rounds += 1
        now = self._clock.now()
        begins = now - timedelta(minutes=1)
        return [Measurement("errors", now, 0.0, "counted", bad=0, total=50, begins=begins, ends=now)]

    def close(self) -> None:
        """Nothing is open."""


class Says:
    """A watch that says what it is told to."""

    steady_seconds, every_seconds = 0.0, 0.0

    def __init__(self) -> None:
        self.why: str | None = None

    def look(self) -> str | None:
        return self.why

    def close(self) -> None:
        """Nothing is open."""


def test_a_window_is_void_as_a_whole_when_a_part_of_it_was() -> None:
    clock, watch = StillClock(), Says()
    probe = CombinedHealthProbe([Part(Window(clock))], clock=clock, watches=[watch])
    assert probe.measure()[0].total == 50
    clock.passed, watch.why = 10, "another version answers than the fix"
    assert probe.measure()[0].total is None
    watch.why = None
    clock.passed = 69
    (found,) = probe.measure()
    assert (found.harm, found.total, found.waiting) == (None, None, False)
    clock.passed = 71
    assert probe.measure()[0].total == 50
    probe.close()


def test_what_needs_users_is_neither_asked_nor_needed_while_there_are_none() -> None:
    clock, exposed = StillClock(), [0.0]
    users, ours = Window(clock), MemoryHealthProbe({"folders": 0.0}, clock=clock)
    probe = CombinedHealthProbe([Part(ours), Part(users, 5.0)], clock=clock, exposed=lambda: exposed[0])
    assert list(probe.metrics) == ["folders"]
    assert [one.metric for one in probe.measure()] == ["folders"]
    assert users.rounds == 0
    exposed[0] = 5.0
    assert list(probe.metrics) == ["folders", "errors"]
    assert [one.metric for one in probe.measure()] == ["folders", "errors"]
    probe.close()


def test_an_exposure_that_cannot_be_told_needs_everything() -> None:
    def unknown() -> float:
        raise RuntimeError

    clock = StillClock()
    probe = CombinedHealthProbe([Part(Window(clock), 100.0)], clock=clock, exposed=unknown)
    assert probe.metrics == ("errors",)
    probe.close()


def test_the_parts_are_asked_at_the_same_time() -> None:
    import threading

    both = threading.Barrier(3, timeout=10)

    class Meeting(Window):
        def measure(self) -> list[Measurement]:
            both.wait()
            return super().measure()

    clock = StillClock()
    probe = CombinedHealthProbe([Part(Meeting(clock)) for _ in range(3)], clock=clock)
    assert len(probe.measure()) == 3
    probe.close()
    probe.close()


def test_an_unwell_answer_stays_harm_beside_quiet_watches() -> None:
    clock = StillClock()
    broken = MemoryHealthProbe({"folders": 1.0}, clock=clock)
    probe = CombinedHealthProbe([Part(broken)], clock=clock, watches=[Says(), Says()])
    assert probe.measure()[0].harm == 1.0
    probe.close()


def test_what_is_missing_anyhow_keeps_its_own_reason() -> None:
    watch = Says()
    watch.why = "silence during maintenance of mhv_sm"
    clock = StillClock()
    probe = CombinedHealthProbe([Part(MemoryHealthProbe({"a": None}, clock=clock))], clock=clock, watches=[watch])
    assert probe.measure()[0].detail == "scripted"
    probe.close()


def test_the_time_of_a_measurement_is_that_of_its_part() -> None:
    clock = StillClock()
    now: Callable[[], datetime] = clock.now
    with answering(lambda _: json_answer({})) as url, probing(health(endpoints=[endpoint(url)]), clock) as probe:
        assert probe.measure()[0].at == now()
