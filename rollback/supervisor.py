"""Watches over open cases while `serve` lives: an off that is pending, drift, and what is back in full.

One thread a feature, so that a flag store that hangs for one holds up no other. Looking at the flag every few seconds
also keeps its connection warm for the next kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from rollback import bootstrap, log
from rollback.alert_ports import Notice
from rollback.alerting.log_output import LogOutput
from rollback.announcing import notices
from rollback.commands import returning
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS
from rollback.core.model import Incident, State
from rollback.core.reminders import due, reminder_key, still_off_text
from rollback.errors import FlagMissing, PolicyRefused, RollbackError
from rollback.incident_codec import incident_from_json
from rollback.lowering import carry_out
from rollback.raising import FlagView, let_in, next_kill, open_at_settled, view
from rollback.settling import settle, watch_is_over

if TYPE_CHECKING:
    from rollback.prover import Prover
    from rollback.session import Session

LOOK_EVERY = 3.0
"""Seconds between two looks at a flag: httpx keeps an idle connection for five."""

LOOK_WITHIN = 5.0

SETTLE_EVERY = 15.0
"""Seconds between two settlings of an open case."""

REMIND_EVERY = 30.0
"""Seconds between two looks at whether the owner is to be called: policies are read for it."""

NEVER = timedelta(days=36_500)

SPARED = timedelta(seconds=90)
"""Intents younger than this may belong to a command that lives; none tries for longer by default."""


class Meters(Protocol):
    """What is measured of a feature. `exposure` None: not known; `state` `normal` without a case."""

    def stands(self, feature: str, state: str, exposure: int | None, *, needs_human: bool) -> None: ...


@dataclass(slots=True)
class Keeper:
    """Looks after one feature."""

    session: Session
    notify: Callable[[Notice], None]
    meters: Meters | None = None
    _hands_over: bool = False
    _stop: Event = field(default_factory=Event)
    _controller: Controller = field(init=False)
    _watching: Thread | None = None
    _thread: Thread | None = None
    _settled: float = field(default=float("-inf"))
    _reminded: float = field(default=float("-inf"))
    _turns: dict[str, float] = field(default_factory=dict)
    _turns_of: int = -1
    _trouble: str = ""

    def __post_init__(self) -> None:
        self._controller = Controller(self.session)

    def start(self) -> None:
        """Looks from now on."""
        self._thread = Thread(target=self._run, name=f"keeper-{self.session.feature}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still looks."""
        return self._thread is not None and self._thread.is_alive()

    def ask_to_stop(self, *, hand_over: bool) -> None:
        """Ends after the look that it is at; what it watches retreats, or is handed over."""
        self._hands_over = hand_over
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """False when that took too long."""
        for thread in (self._thread, self._watching):
            if thread is not None:
                thread.join(seconds)
                if thread.is_alive():
                    return False
        return True

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # whatever it is: the next look may be well
                self._say_trouble(error)
            if self._stop.wait(LOOK_EVERY):
                return

    def _say_trouble(self, error: Exception) -> None:
        why = error.message if isinstance(error, RollbackError) else f"{type(error).__name__}: {error}"
        if why != self._trouble:
            self._trouble = why
            log.event("look_failed", feature=self.session.feature, error=why)

    # -- one look -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """One look at case and flag, and what follows from it. Raises what the store raises."""
        incident = self._controller.reload()
        try:
            flag = view(self.session, self.session.clock.monotonic() + LOOK_WITHIN)
        except RollbackError as error:
            self._measure(incident, None)
            if isinstance(error, FlagMissing) and incident is not None and incident.state is State.DISABLED:
                gone = "the flag is gone, so each application's own default decides"
                self._controller.handle(e.OffNotProven(gone))
            self._announce()
            raise
        self._trouble = ""
        self._measure(incident, flag.now.percent)
        if incident is not None:
            self._look_after(incident, flag)
        self._announce()

    def _look_after(self, incident: Incident, flag: FlagView) -> None:
        now = self.session.clock.monotonic()
        if flag.now.percent != 0:
            self._turns.clear()
        if what := self._drift(incident, flag):
            self._put_right(incident, what)
        elif incident.state is State.MONITORING and incident.watcher is None:
            self._take_over()
        elif (now - self._settled >= SETTLE_EVERY or watch_is_over(incident)) and not self._is_watching():
            self._settled = now
            settle(self.session, self._controller, lambda: self._prover(incident.epoch), self._say, spare=SPARED)
        self._remind(incident)

    def _drift(self, incident: Incident, flag: FlagView) -> str:
        """How a foreign edit lets in whom the case's settled state keeps out; empty when none does."""
        match incident.state:
            case State.DISABLED:
                return let_in(incident, flag, 0)
            case State.REDUCED:
                return let_in(incident, flag, open_at_settled(self.session, incident, flag))
            case _:
                return ""

    def _prover(self, epoch: int) -> Prover:
        """One that knows since when those before it, of the same epoch, have seen each replica off."""
        if epoch != self._turns_of:
            self._turns_of, self._turns = epoch, {}
        prover = bootstrap.prover(self.session)
        prover.turns = self._turns
        return prover

    def _put_right(self, incident: Incident, what: str) -> None:
        """Somebody's edit lets users in while it should be off: once it is put right, then a person decides."""
        key, epoch = next_kill(incident)
        decision = self._controller.handle(e.DriftSeen(key, epoch, what), reason="drift")
        for effect in decision.effects:
            if isinstance(effect, LowerExposure):
                self._lower(effect, f"drift: {what}")

    def _lower(self, effect: LowerExposure, why: str) -> None:
        prover = bootstrap.prover(self.session)
        try:
            carry_out(
                self.session, self._controller, effect, why, prover=prover, say=self._say, wait=effect.held == BUCKETS
            )
        finally:
            prover.close()

    # -- watching what is back ------------------------------------------------------------------------------------

    def _is_watching(self) -> bool:
        return self._watching is not None and self._watching.is_alive()

    def _take_over(self) -> None:
        """What is back in full and handed over is watched here to the end of its monitoring (invariant 9)."""
        if self._is_watching() or self._stop.is_set():
            return
        self._watching = Thread(target=self._watch, name=f"watch-{self.session.feature}", daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        output = LogOutput(self.session.feature)
        request = returning.Request(
            self.session.feature, "watched to the end by serve", actor=self.session.actor, plain=True
        )
        try:
            returning.run(request, output, lambda: self._stop.is_set, hand_over=lambda: self._hands_over)
        except PolicyRefused as error:  # somebody else watches it, or disabled it
            log.event("not_watched_here", feature=self.session.feature, why=error.message)
        except Exception as error:
            self._say_trouble(error)

    # -- telling ----------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        log.event("kept", feature=self.session.feature, text=text)

    def _measure(self, incident: Incident | None, exposure: int | None) -> None:
        if self.meters is not None:
            state = incident.state.value if incident else State.NORMAL.value
            human = incident is not None and incident.needs_human is not None
            self.meters.stands(self.session.feature, state, exposure, needs_human=human)

    def _announce(self) -> None:
        """From the newest image, also of a case that has just ended; who was told already is not told again."""
        latest = self.session.history.latest(self.session.feature).entry
        if latest is None or latest.after is None:
            return
        try:
            image = incident_from_json(latest.after)
        except ValueError:
            return
        for notice in notices(self.session.reference, image):
            self.notify(notice)

    def _remind(self, incident: Incident) -> None:
        """A feature that stays off calls its owner at the policy's times (invariant 17)."""
        is_off = incident.state in (State.DISABLING, State.DISABLED) and incident.settled_held == BUCKETS
        if not is_off or incident.turned_at is None:
            return
        monotonic = self.session.clock.monotonic()
        if monotonic - self._reminded < REMIND_EVERY:
            return
        self._reminded = monotonic
        feature, policy = bootstrap.policies(self.session, incident.severity)
        now = self.session.clock.now()
        mark = due(incident.turned_at, (), policy.remind.after, policy.remind.then_every or NEVER, now)
        if mark is None:
            return
        owner = feature.owner
        steps = [
            f"rollback status {feature.feature}",
            f"rollback enable {feature.feature} --reason R, once the fix is deployed",
            *([f"Reach {owner.role}: {owner.reach}"] if owner else []),
        ]
        text = still_off_text(feature.name, incident.turned_at, now, incident.incident_id, incident.needs_human, steps)
        key = reminder_key(incident.incident_id, incident.turned_at, mark)
        self.notify(Notice(key, feature.feature, incident.incident_id, "call", text, owner.role if owner else "owner"))


@dataclass(slots=True)
class Supervisor:
    """A keeper for each feature, started and stopped together.

    With `hand_over` a stop leaves what is back in full to a successor; else it retreats, since nobody would watch it.
    """

    keepers: Mapping[str, Keeper]
    hand_over: bool = False

    def start(self) -> None:
        """Each begins with a look, which resumes what an earlier process left."""
        for keeper in self.keepers.values():
            keeper.start()

    @property
    def workers(self) -> dict[str, bool]:
        """Each keeper's thread, and whether it lives."""
        return {f"keeper-{feature}": keeper.is_alive for feature, keeper in self.keepers.items()}

    def stop(self, seconds: float) -> bool:
        """What is watched retreats, or is handed over. False when that took too long."""
        for keeper in self.keepers.values():
            keeper.ask_to_stop(hand_over=self.hand_over)
        until = time.monotonic() + seconds
        late = [one for one, keeper in self.keepers.items() if not keeper.join(max(0.0, until - time.monotonic()))]
        return not late


def keeper(session: Session, notify: Callable[[Notice], None], meters: Meters | None = None) -> Keeper:
    """A keeper with a session whose warnings go to the log."""
    return Keeper(replace(session, warn=LogOutput(session.feature).warn), notify, meters)
