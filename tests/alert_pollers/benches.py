"""Each poller beside a stand-in of its system, with the same few words to make things happen there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from rollback.adapters.alert_pollers.alertmanager import AlertmanagerAlertPoller
from rollback.adapters.alert_pollers.appdynamics import AppDynamicsAlertPoller
from rollback.adapters.alert_pollers.appdynamics_access import ApiClient
from rollback.adapters.alert_pollers.datadog import DatadogAlertPoller
from rollback.adapters.alert_pollers.memory import MemoryAlertPoller
from rollback.adapters.alert_pollers.prometheus import PrometheusAlertPoller
from rollback.alert_ports import AlertPoller, Cycle
from rollback.core.alerts import Alert, Edge, Reading
from rollback.errors import StoreUnreachable
from rollback.sandbox.monitoring import MonitoringApi
from rollback.sandbox.monitoring_datadog import DatadogApi
from rollback.sandbox.wire import Answer, Request, json_answer

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class StillClock:
    """Moves only when it is told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Remembering(AlertPoller, Protocol):
    """What every poller of ours can do beside the port."""

    def remember(self, cycles: Iterable[Cycle]) -> None: ...


class Bench:
    """A poller and its system. `WELL` is what `monitors` says of a monitor that does not fire."""

    WELL = "ok"

    def __init__(self) -> None:
        self.clock = StillClock()
        self.api = MonitoringApi(now=self.clock.now)
        self.poller: Remembering = self.made()

    def made(self) -> Remembering:
        """Another poller of the same system, as after a restart."""
        raise NotImplementedError

    def fire(self, monitor: str) -> None:
        """The monitor fires, from now on."""
        raise NotImplementedError

    def resolve(self, monitor: str) -> None:
        """The monitor recovers, now."""
        raise NotImplementedError

    def mute(self, monitor: str) -> None:
        """The monitor is muted, now."""
        raise NotImplementedError

    def fail(self) -> None:
        """From now on the system answers 503."""
        self.api.fault = unavailable

    def work(self) -> None:
        """It answers again."""
        self.api.fault = None

    def poll(self, later: float = 30.0) -> list[Reading]:
        """One poll, so many seconds after the last."""
        self.clock.passed += later
        return list(self.poller.poll(self.clock.now()))

    def close(self) -> None:
        """Ends all."""
        self.poller.close()
        self.api.stop()


def unavailable(_: Request) -> Answer:
    """A server that is down for maintenance."""
    return json_answer({"error": "unavailable"}, 503)


class DatadogBench(Bench):
    def made(self) -> Remembering:
        for number, name in ((101, "SM errors"), (102, "SM latency")):
            if number not in self.api.datadog.monitors:
                self.api.datadog.add(number, name, priority=1, tags=["env:prod", "service:sm"])
        return DatadogAlertPoller(
            "watch",
            site=self.api.url,
            api_key=lambda: self.api.datadog.API_KEY,
            application_key=lambda: self.api.datadog.APPLICATION_KEY,
            clock=self.clock,
        )

    def fire(self, monitor: str) -> None:
        self.api.datadog.trigger(int(monitor))

    def resolve(self, monitor: str) -> None:
        self.api.datadog.resolve(int(monitor))

    def mute(self, monitor: str) -> None:
        self.api.datadog.monitors[int(monitor)].silenced = {"*": None}


def other_datadog(bench: DatadogBench, **options: Any) -> DatadogAlertPoller:
    """Puts a poller with other settings in place of the bench's own."""
    settings: dict[str, Any] = {
        "site": bench.api.url,
        "api_key": lambda: DatadogApi.API_KEY,
        "application_key": lambda: DatadogApi.APPLICATION_KEY,
        "clock": bench.clock,
    }
    bench.poller.close()
    bench.poller = DatadogAlertPoller("watch", **{**settings, **options})
    return bench.poller


class AppDynamicsBench(Bench):
    def made(self) -> Remembering:
        api = self.api.appdynamics
        for number in (101, 102):
            api.rules[number] = {"id": number, "name": f"Rule {number}", "enabled": True}
        access = ApiClient(api.CLIENT, lambda: api.SECRET, clock=self.clock)
        return AppDynamicsAlertPoller(
            "watch", controller=self.api.url, application="sm-api", access=access, clock=self.clock
        )

    def fire(self, monitor: str) -> None:
        self.api.appdynamics.violate(len(self.api.appdynamics.violations) + 1, int(monitor), self.clock.now())

    def resolve(self, monitor: str) -> None:
        for number, one in self.api.appdynamics.violations.items():
            if one.rule == int(monitor) and one.status == "OPEN":
                self.api.appdynamics.resolve(number, self.clock.now())

    def mute(self, monitor: str) -> None:
        """AppDynamics cancels the violation of a rule that is disabled."""
        self.api.appdynamics.rules[int(monitor)]["enabled"] = False
        for number, one in self.api.appdynamics.violations.items():
            if one.rule == int(monitor) and one.status == "OPEN":
                self.api.appdynamics.resolve(number, self.clock.now(), "CANCELLED")


class AlertmanagerBench(Bench):
    WELL = "unknown"

    def made(self) -> Remembering:
        return AlertmanagerAlertPoller("watch", url=self.api.url, clock=self.clock)

    def fire(self, monitor: str) -> None:
        self.api.alertmanager.fire(f"f{monitor}", self.clock.now(), alertname=monitor, severity="critical")

    def resolve(self, monitor: str) -> None:
        self.api.alertmanager.resolve(f"f{monitor}")

    def mute(self, monitor: str) -> None:
        self.api.alertmanager.silence(f"f{monitor}")


class PrometheusBench(Bench):
    def made(self) -> Remembering:
        return PrometheusAlertPoller("watch", url=self.api.url, clock=self.clock)

    def fire(self, monitor: str) -> None:
        self.api.prometheus.fire(monitor, self.clock.now(), severity="critical")

    def resolve(self, monitor: str) -> None:
        self.api.prometheus.resolve(monitor, severity="critical")

    def mute(self, monitor: str) -> None:
        """The rule's evaluation fails, and its alert is gone."""
        self.api.prometheus.rules[monitor].health = "err"
        self.api.prometheus.resolve(monitor, severity="critical")


class MemoryBench(Bench):
    def made(self) -> Remembering:
        if not hasattr(self, "memory"):
            self.memory = MemoryAlertPoller("watch", ["101", "102"])
            return self.memory
        again = MemoryAlertPoller("watch", ["101", "102"])
        again._firing, again._resolved = self.memory._firing, self.memory._resolved
        return again

    def fire(self, monitor: str) -> None:
        self.memory.fire(monitor, self.clock.now())

    def resolve(self, monitor: str) -> None:
        self.memory.resolve(monitor, self.clock.now())

    def mute(self, monitor: str) -> None:
        self.memory.mute(monitor)

    def fail(self) -> None:
        self.memory.failing = StoreUnreachable("It is down.")

    def work(self) -> None:
        self.memory.failing = None


def alerts(readings: Iterable[Reading]) -> list[Alert]:
    """All alerts of the readings, in order."""
    return [alert for reading in readings for alert in reading.alerts]


def edges(readings: Iterable[Reading]) -> list[tuple[str, Edge]]:
    """What each alert says of its monitor."""
    return [(alert.monitor, alert.edge) for alert in alerts(readings)]
