"""Continuous direct probes: a thread asks a feature's own endpoints, and its alarm is one more alert.

Detection dominates the time until a feature is off, so a feature may be watched by us as well. The statistics are in
`core.probe_alarm`; what protects against faults of our own network is the control target of the probe: when it fails,
the whole round is missing (`adapters.health_probes.http`). Without one, probing refuses to start.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rollback import log
from rollback.core.alerts import Reading
from rollback.core.probe_alarm import ProbeAlarm, ProbeRule, reading_of
from rollback.errors import ConfigurationError
from rollback.ports import Clock, HealthProbe

if TYPE_CHECKING:
    from rollback.core.policy import Health

Deliver = Callable[[Reading], None]
"""Takes an alert over, durably. When it raises, the same reading is handed over again after the next round."""

STOP_WITHIN = 30.0
"""Seconds that `stop` waits for a round that is under way; a probe ends a round within its longest timeout."""


@dataclass(frozen=True, slots=True)
class ProbingState:
    """Where probing stands. `last_data_at` None: no round had any sample yet. `undelivered`: alerts not taken over."""

    feature: str
    rounds: int
    last_round_at: datetime | None
    last_data_at: datetime | None
    alarmed: bool
    undelivered: int


class Prober:
    """Probes one feature every `rule.interval`, in one thread, until `stop`.

    `has_control` says whether the probe has a control target that it can ask (`has_control`, below). `open_cycles` are
    the cycles of source `probes` that are firing for this feature since an earlier process: their end is told too.
    `deliver` is called from the thread. Rounds that are late are not made up for: fewer samples only make false alarms
    rarer. Raises `ConfigurationError` without a control target, without metrics, and for a rule that makes no sense.
    """

    def __init__(
        self,
        feature: str,
        probe: HealthProbe,
        rule: ProbeRule,
        clock: Clock,
        deliver: Deliver,
        *,
        has_control: bool,
        open_cycles: Sequence[str] = (),
    ) -> None:
        if not has_control:
            raise ConfigurationError(
                f"{feature} cannot be probed continuously without a control target that can be asked.",
                next="Give `control` in its health section: a target that fails only when our own network does.",
            )
        try:
            self._alarm = ProbeAlarm.start(feature, probe.metrics, rule, open_cycles=open_cycles)
        except ValueError as error:
            raise ConfigurationError(f"{feature} cannot be probed continuously: {error}.") from error
        self.feature = feature
        self._probe, self._rule, self._clock, self._deliver = probe, rule, clock, deliver
        self._waiting: deque[Reading] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._rounds = 0
        self._last_round_at: datetime | None = None
        self._last_data_at: datetime | None = None

    def start(self) -> None:
        """Starts the thread; once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"probing-{self.feature}", daemon=True)
            self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it probes."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Ends the thread after the round that is under way, and closes the probe. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_WITHIN)
        self._probe.close()

    def round(self) -> None:
        """One round: measure, judge, hand over. Never raises: a round that fails is missing, and is logged."""
        at = self._clock.now()
        try:
            measured = self._probe.measure()
            harms = {one.metric: one.harm for one in measured}
            self._alarm, edges = self._alarm.observe(harms, at)
        except Exception as error:
            log.event("probing_round_failed", feature=self.feature, error=type(error).__name__)
            harms, edges = {}, ()
        self._rounds += 1
        self._last_round_at = at
        if any(harm is not None for harm in harms.values()):
            self._last_data_at = at
        self._waiting.extend(reading_of(edge) for edge in edges)
        self._hand_over()

    def state(self) -> ProbingState:
        """Where it stands; from any thread."""
        return ProbingState(
            feature=self.feature,
            rounds=self._rounds,
            last_round_at=self._last_round_at,
            last_data_at=self._last_data_at,
            alarmed=bool(self._alarm.cycles),
            undelivered=len(self._waiting),
        )

    def _hand_over(self) -> None:
        """In order, each until it is taken. They are few: an alarm has to end before the next one can begin."""
        while self._waiting:
            try:
                self._deliver(self._waiting[0])
            except Exception as error:
                log.event("probing_not_delivered", feature=self.feature, error=type(error).__name__)
                return
            self._waiting.popleft()

    def _run(self) -> None:
        interval = self._rule.interval.total_seconds()
        while not self._stop.is_set():
            began = self._clock.monotonic()
            self.round()
            self._stop.wait(max(0.0, interval - (self._clock.monotonic() - began)))


def has_control(health: Health, unknown: Mapping[str, str]) -> bool:
    """Whether a feature's control target can be asked. `unknown` is what `HttpHealthProbe.unknown` says.

    A target whose address hangs on a variable that is not set protects against nothing.
    """
    return health.control is not None and health.control.name not in unknown
