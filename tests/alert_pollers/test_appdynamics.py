"""AppDynamics' violations: open and critical fires, resolved recovers, everything else is neither."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from rollback.adapters.alert_pollers.appdynamics import AppDynamicsAlertPoller
from rollback.adapters.alert_pollers.appdynamics_access import Access, ApiClient, UserPassword
from rollback.core.alerts import Edge
from rollback.errors import ConfigurationError, StoreRefused, StoreUnreachable
from rollback.sandbox.monitoring_appdynamics import AppDynamicsApi
from rollback.sandbox.wire import Request, json_answer
from tests.alert_pollers.benches import NOON, AppDynamicsBench, alerts, edges

FIRED, UNCLEAR, RECOVERED = Edge.FIRED, Edge.UNCLEAR, Edge.RECOVERED


@pytest.fixture
def bench() -> Iterator[AppDynamicsBench]:
    made = AppDynamicsBench()
    yield made
    made.close()


def use(bench: AppDynamicsBench, access: Access, **options: Any) -> AppDynamicsAlertPoller:
    bench.poller.close()
    settings: dict[str, Any] = {"controller": bench.api.url, "application": "sm-api", "clock": bench.clock}
    bench.poller = AppDynamicsAlertPoller("watch", access=access, **{**settings, **options})
    return bench.poller


def user() -> UserPassword:
    return UserPassword(AppDynamicsApi.USER, lambda: AppDynamicsApi.PASSWORD)


def test_a_violation_bears_what_rules_match_on(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    (alert,) = alerts(bench.poll())
    assert (alert.monitor, alert.cycle, alert.priority, alert.occurred_at) == ("101", "1", "CRITICAL", NOON)
    assert alert.tags == (
        "application:sm-api",
        "entity:sm-tier",
        "entity_type:APPLICATION_COMPONENT",
        "health_rule:Rule 101",
    )
    assert alert.link == "https://appd.example.org/#location=APP_INCIDENT_DETAIL&incident=1"


def test_a_warning_is_unclear_until_it_is_critical(bench: AppDynamicsBench) -> None:
    """The violation stays the same; its start lies long before the moment at which it became critical."""
    violation = bench.api.appdynamics.violate(5, 101, NOON, "WARNING")
    assert edges(bench.poll()) == [("101", UNCLEAR)]
    bench.clock.passed += 1800
    bench.poll()
    violation.severity = "CRITICAL"
    (alert,) = alerts(bench.poll())
    assert (alert.edge, alert.cycle, alert.occurred_at) == (FIRED, "5", bench.clock.now())
    (again,) = alerts(bench.poll())
    assert again == alert, "a later poll of the same state is the same delivery"


def test_a_violation_that_is_downgraded_has_not_recovered(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    bench.poll()
    bench.api.appdynamics.violations[1].severity = "WARNING"
    assert edges(bench.poll()) == [("101", UNCLEAR)]
    bench.resolve("101")
    assert edges(bench.poll()) == [("101", RECOVERED)]


@pytest.mark.parametrize("status", ["CANCELLED", "CANCELED", "NOT_APPLICABLE", "SOMETHING_NEW"])
def test_no_other_state_ends_a_violation(bench: AppDynamicsBench, status: str) -> None:
    bench.fire("101")
    bench.poll()
    bench.api.appdynamics.resolve(1, bench.clock.now(), status)
    assert edges(bench.poll()) == [("101", UNCLEAR)]


def test_a_violation_that_says_open_and_ended_is_unclear(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    bench.api.appdynamics.violations[1].ended = bench.clock.now()
    assert edges(bench.poll()) == [("101", UNCLEAR)]


def test_absence_is_no_recovery(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    bench.poll()
    bench.api.fault = lambda request: json_answer([]) if "violations" in request.path else None
    assert edges(bench.poll()) == [("101", UNCLEAR)]
    bench.work()
    assert edges(bench.poll()) == [("101", FIRED)]


def test_a_violation_that_lasts_longer_than_the_window_is_still_heard_of(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    bench.poll()
    for _ in range(3):
        assert edges(bench.poll(later=5 * 3600)) == [("101", FIRED)]
    bench.resolve("101")
    assert edges(bench.poll()) == [("101", RECOVERED)]


def test_a_critical_violation_that_came_and_went_between_two_polls_is_not_lost(bench: AppDynamicsBench) -> None:
    bench.poll()
    bench.clock.passed += 5
    bench.fire("101")
    bench.api.appdynamics.violate(9, 102, bench.clock.now(), "WARNING")
    bench.clock.passed += 5
    bench.resolve("101")
    bench.resolve("102")
    told = alerts(bench.poll())
    assert [(one.monitor, one.edge) for one in told] == [("101", FIRED), ("101", RECOVERED)]
    assert [one.key for one in bench.poll()] == [one.key for one in bench.poll()]


def test_a_disabled_rule_is_unknown_and_a_warning_is_no_health(bench: AppDynamicsBench) -> None:
    bench.api.appdynamics.rules[101]["enabled"] = False
    bench.api.appdynamics.violate(9, 102, NOON, "WARNING")
    first, second = bench.poller.monitors(["101", "102"], bench.clock.now())
    assert (first.state, first.why) == ("unknown", "disabled")
    assert (second.state, second.why) == ("unknown", "a warning is open")


# -- who we are --------------------------------------------------------------------------------------------------


def test_a_token_is_used_until_shortly_before_its_end(bench: AppDynamicsBench) -> None:
    bench.poll()
    bench.poll(later=200)
    assert len(bench.api.appdynamics.tokens) == 1
    bench.poll(later=80)
    assert len(bench.api.appdynamics.tokens) == 2


def test_a_token_that_is_refused_is_replaced_once(bench: AppDynamicsBench) -> None:
    bench.fire("101")
    bench.poll()
    bench.api.appdynamics.valid.clear()
    assert edges(bench.poll()) == [("101", FIRED)]
    bench.api.fault = lambda request: json_answer({}, 401) if "violations" in request.path else None
    before = len(bench.api.appdynamics.tokens)
    with pytest.raises(StoreRefused, match="credentials of watch"):
        bench.poll()
    assert len(bench.api.appdynamics.tokens) == before + 1


def test_a_user_with_a_password_may_ask(bench: AppDynamicsBench) -> None:
    use(bench, user())
    bench.fire("101")
    assert edges(bench.poll()) == [("101", FIRED)]
    assert bench.api.appdynamics.tokens == []


@pytest.mark.parametrize(
    "access",
    [UserPassword(AppDynamicsApi.USER, lambda: "wrong-password"), None],
    ids=["password", "secret"],
)
def test_a_wrong_secret_is_refused_and_not_shown(bench: AppDynamicsBench, access: Access | None) -> None:
    poller = use(bench, access or ApiClient(AppDynamicsApi.CLIENT, lambda: "wrong-secret", clock=bench.clock))
    with pytest.raises(StoreRefused) as failed:
        bench.poll()
    told = f"{failed.value} {failed.value.next} {failed.value!r} {poller._access!r}"
    assert "wrong-" not in told
    assert "customer1" in told


def test_a_role_that_may_not_read_is_told(bench: AppDynamicsBench) -> None:
    bench.api.fault = lambda request: json_answer({}, 403) if "violations" in request.path else None
    with pytest.raises(StoreRefused, match="does not let watch read"):
        bench.poll()


@pytest.mark.parametrize("token", [[], {}, {"access_token": ""}, {"access_token": 5}, {"access_token": None}])
def test_an_answer_without_a_token_is_refused(bench: AppDynamicsBench, token: Any) -> None:
    bench.api.fault = lambda request: json_answer(token) if "oauth" in request.path else None
    with pytest.raises(StoreRefused, match="holds none"):
        bench.poll()


@pytest.mark.parametrize("lasts", [None, "300", -5, 0])
def test_a_token_that_does_not_say_how_long_it_lasts_is_used_once(bench: AppDynamicsBench, lasts: Any) -> None:
    bench.api.appdynamics.token_seconds = lasts
    bench.poll()
    bench.poll()
    assert len(bench.api.appdynamics.tokens) == 2


@pytest.mark.parametrize("name", ["reader", "", "@", "reader@", "@account", "two\nlines@account"])
def test_a_name_without_its_account_is_refused(bench: AppDynamicsBench, name: str) -> None:
    with pytest.raises(ConfigurationError):
        UserPassword(name, lambda: "secret")
    with pytest.raises(ConfigurationError):
        ApiClient(name, lambda: "secret", clock=bench.clock)


def test_a_user_with_a_colon_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without a colon"):
        UserPassword("a:b@account", lambda: "secret")


# -- answers that are none ---------------------------------------------------------------------------------------

BAD: list[Any] = [
    {},
    None,
    "x",
    [1],
    [{}],
    [{"id": 1, "incidentStatus": "OPEN"}],
    [{"id": 1, "incidentStatus": "OPEN", "triggeredEntityDefinition": {}}],
    [{"id": None, "incidentStatus": "OPEN", "triggeredEntityDefinition": {"entityId": 3}}],
    [{"id": 1, "incidentStatus": 7, "triggeredEntityDefinition": {"entityId": 3}}],
]


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_no_list_of_violations_is_refused(bench: AppDynamicsBench, document: Any) -> None:
    bench.api.fault = lambda request: json_answer(document) if "violations" in request.path else None
    with pytest.raises(StoreRefused, match="no list of violations"):
        bench.poll()


@pytest.mark.parametrize("part", ["health-rules", "applications/sm-api"])
@pytest.mark.parametrize("document", [{}, [], [1], [{"id": None}], None])
def test_what_is_no_list_of_rules_or_no_application_is_refused(
    bench: AppDynamicsBench, part: str, document: Any
) -> None:
    bench.api.fault = lambda request: json_answer(document) if request.path.endswith(part) else None
    if part == "health-rules" and document == []:
        assert list(bench.poller.monitors(["101"], bench.clock.now())) == []
        return
    with pytest.raises(StoreRefused, match="with something that is no"):
        bench.poller.monitors(["101"], bench.clock.now())


def test_an_application_whose_name_needs_escaping_is_asked_for_by_its_name(bench: AppDynamicsBench) -> None:
    asked: list[str] = []

    def fault(request: Request) -> None:
        asked.append(request.path)

    bench.api.fault = fault
    bench.api.appdynamics.application = "sm api #1"
    use(bench, user(), application="sm api #1")
    bench.poll()
    assert asked == ["/controller/rest/applications/sm api #1/problems/healthrule-violations"]


@pytest.mark.parametrize("application", ["", "x" * 201])
def test_an_application_has_a_name(bench: AppDynamicsBench, application: str) -> None:
    with pytest.raises(ConfigurationError):
        use(bench, user(), application=application)


def test_an_unknown_application_is_refused(bench: AppDynamicsBench) -> None:
    use(bench, user(), application="elsewhere")
    with pytest.raises(StoreRefused, match="answered 400"):
        bench.poll()


def test_a_controller_that_cannot_be_reached_is_an_error(bench: AppDynamicsBench) -> None:
    bench.api.stop()
    with pytest.raises(StoreUnreachable):
        bench.poll()


def test_the_window_never_grows_without_end(bench: AppDynamicsBench) -> None:
    windows: list[str] = []

    def fault(request: Request) -> None:
        windows.append(request.query.get("duration-in-mins", ""))

    bench.api.appdynamics.violate(1, 101, NOON - timedelta(days=300))
    use(bench, user(), look_back=timedelta(days=400))
    bench.api.fault = fault
    bench.poll()
    assert windows == [str(7 * 24 * 60)]
