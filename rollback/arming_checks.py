"""The checks behind `armed` that look at the world: a real write on the shadow flag, and the monitors of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rollback.core import exposure as exposures
from rollback.core.arming import Check, CheckState
from rollback.core.automation_policy import PollKind
from rollback.core.marker import Marker
from rollback.errors import Conflict, FlagMissing, RollbackError, StoreUnreachable, Unsettled
from rollback.redaction import redact
from rollback.session import nonce

if TYPE_CHECKING:
    from rollback.alert_ports import AlertPoller, MonitorState
    from rollback.core.automation_policy import AutomationPolicy
    from rollback.core.feature_policy import FeaturePolicy
    from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot, Polarity
    from rollback.session import Session

WRITE_WITHIN = 10.0
"""Seconds for the whole write check: a store that takes longer is no kill switch."""

TRIES = 3
"""How often a write is tried when somebody else wrote in between: another machine checks the same flag now and then."""

ABANDONED = timedelta(minutes=5)
"""A write check lasts seconds: what is on the shadow flag for longer was left by one that died, and is taken out."""

ASKED_AT_ONCE = 50
"""Monitors that are looked up in one call; a poller may ask for each by itself (`MAX_ASKED` of the Datadog one)."""


# -- the write check ---------------------------------------------------------------------------------------------------


def check_write(session: Session, policy: FeaturePolicy, *, needed: bool) -> Check:
    """Puts a kill in front of the shadow flag, by the same store, token and namespace as `disable`, and takes it out.

    The real flag is neither read nor written. Ok means: the write was acknowledged, nobody would have been served, and
    afterwards the shadow flag was as before. Raises `StoreUnreachable` when there was no answer and nothing was
    written; every other failure is a failed check that says what to do.
    """
    now = session.clock.now()
    if policy.shadow_flag is None:
        why = "no shadow_flag is named, so whether the token may write is not known"
        return Check("write", CheckState.NOT_CONFIGURED, why, now, needed=needed)
    ref = replace(policy.flag_ref, flag_key=policy.shadow_flag)
    began = session.clock.monotonic()
    rehearsal = _Rehearsal(session, ref, policy.polarity, began + WRITE_WITHIN)
    try:
        is_off = rehearsal.put_in()
        took = session.clock.monotonic() - began
    except FlagMissing:
        why = f"{ref} does not exist: create it there, of the real flag's type, off, and read by nobody"
        return Check("write", CheckState.FAILED, why, now)
    except StoreUnreachable:
        raise
    except RollbackError as error:
        if isinstance(error, Unsettled):
            with suppress(RollbackError):
                rehearsal.take_out()
        return _failed(ref, error.message, now)
    try:
        is_as_before = rehearsal.take_out()
    except RollbackError as error:
        return _failed(ref, f"written, but not taken back (the next check does that): {error.message}", now)
    if not is_off:
        return _failed(ref, "written, and somebody would have been served: is it of the real flag's type?", now)
    if not is_as_before:
        return _failed(ref, "written and taken back, and it is not as before: somebody else edits it", now)
    return Check("write", CheckState.OK, f"{ref} was off after {took:.2f} s, and taken back", now)


def _failed(ref: FlagRef, why: str, now: datetime) -> Check:
    return Check("write", CheckState.FAILED, f"{ref}: {redact(why, 300)}", now)


class _Rehearsal:
    """One kill on the shadow flag. Both halves raise what the store raises."""

    def __init__(self, session: Session, ref: FlagRef, polarity: Polarity, deadline: float) -> None:
        self._session, self._ref, self._polarity, self._deadline = session, ref, polarity, deadline
        self._key = f"kill-1-{nonce()}"
        self._before: FlagConfig | None = None

    def put_in(self) -> bool:
        """The kill in front, as `disable` puts it; whether nobody is served then."""
        return exposures.exposure(self._written(self._killed).config, self._polarity).is_off

    def take_out(self) -> bool:
        """Out again, as a return takes it out, also when it is not known whether it is there; whether all is as it was.

        Tried again when the answer was lost: what is left there is no harm, but it is not ours to leave.
        """
        for left in range(TRIES - 1, -1, -1):
            try:
                after = self._written(lambda config: exposures.without(config, [self._key])).config
            except (StoreUnreachable, Unsettled):
                if not left:
                    raise
            else:
                return after == self._before
        raise AssertionError  # the last try returns or raises

    def _killed(self, config: FlagConfig) -> FlagConfig:
        """Without what a check that died has left, and with this kill in front."""
        now = self._session.clock.now()
        left = [m.key for m in exposures.ours(config) if m.written_at is None or now - m.written_at > ABANDONED]
        self._before = exposures.without(config, left) if left else config
        marker = Marker(
            incident=f"{self._session.feature}-write-check",
            key=self._key,
            actor=self._session.actor.name,
            at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        )
        return exposures.kill(self._before, self._polarity, marker)

    def _written(self, change: Callable[[FlagConfig], FlagConfig]) -> FlagSnapshot:
        """One read, one write; again when somebody else wrote in between."""
        for left in range(TRIES - 1, -1, -1):
            before = self._session.store.read(self._ref, deadline=self._deadline)
            desired = change(before.config)
            if desired == before.config:
                return before
            try:
                return self._session.store.write(before, desired, deadline=self._deadline)
            except Conflict:
                if not left:
                    raise
        raise AssertionError  # the last try returns or raises


# -- the monitors of a source ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lookup:
    """How the monitors of one source are looked up.

    `poller` None: nobody can. `recipient` is how the system writes us where it says whom a monitor notifies; empty: not
    said in the policy. `is_pushed` is False for a source that is only asked: nobody has to notify us then. `closed` is
    why deliveries of the source are turned away; empty: they are not. `lists_recipients`: whether the system tells whom
    each monitor notifies; `knows_all`: whether a monitor that it does not show does not exist.
    """

    poller: AlertPoller | None = None
    recipient: str = ""
    is_pushed: bool = True
    closed: str = ""
    lists_recipients: bool = False
    knows_all: bool = True


def lookups(
    policy: AutomationPolicy, pollers: Mapping[str, AlertPoller], closed: Mapping[str, str]
) -> dict[str, Lookup]:
    """A lookup for each source and poll. `closed` says of sources why they are closed (empty: open).

    Only Datadog tells whom each monitor notifies; Alertmanager shows what fires, and not which rules there are.
    """
    found = {}
    for name in sorted(policy.source_names):
        source, poll = policy.sources.get(name), policy.polls.get(name)
        found[name] = Lookup(
            poller=pollers.get(name),
            recipient=(source.recipient or "") if source is not None else "",
            is_pushed=source is not None,
            closed=closed.get(name, ""),
            lists_recipients=poll is not None and poll.kind is PollKind.DATADOG,
            knows_all=poll is None or poll.kind is not PollKind.ALERTMANAGER,
        )
    return found


def check_monitors(
    source: str, monitors: Sequence[str], lookup: Lookup, now: datetime, *, has_heartbeat: bool
) -> Check:
    """Whether each of these monitors exists, is not muted, and tells us. Raises what `AlertPoller.monitors` raises.

    A monitor in alert is well: it exists, and says what it sees. One without data, muted or a draft is not: it would
    not fire. `has_heartbeat` says whether the source's way to us is shown by a heartbeat: then what nobody can look up
    is said, and does not count.
    """
    name, needed = f"monitors:{source}", not has_heartbeat
    if lookup.closed and lookup.poller is None:
        return Check(name, CheckState.FAILED, f"its deliveries are turned away: {lookup.closed}", now)
    if not monitors:
        why = "its rules name no monitor that could be looked up"
        return Check(name, CheckState.UNKNOWN, why, now, needed=needed)
    if lookup.poller is None:
        why = f"no poll of {source} is configured, so nobody can look up {_named(monitors)}"
        return Check(name, CheckState.UNKNOWN, why, now, needed=needed)
    found: dict[str, MonitorState] = {}
    for first in range(0, len(monitors), ASKED_AT_ONCE):
        asked = monitors[first : first + ASKED_AT_ONCE]
        found |= {state.monitor: state for state in lookup.poller.monitors(asked, now)}
    wrong = [words for one in monitors if (words := _wrong(one, found.get(one), lookup))]
    if wrong:
        return Check(name, CheckState.FAILED, redact("; ".join(wrong), 400), now)
    dumb = [f"{one}: {found[one].why}" for one in monitors if one in found and found[one].state == "unknown"]
    if dumb or len(found) < len(monitors):
        why = redact("; ".join(dumb), 400) or "not all of them are told"
        return Check(name, CheckState.UNKNOWN, why, now, needed=lookup.knows_all or needed)
    told = "" if lookup.recipient or not lookup.is_pushed else "; whether they notify us is not looked up: no recipient"
    return Check(name, CheckState.OK, f"{_named(monitors)} exist{told}", now)


def _wrong(monitor: str, state: MonitorState | None, lookup: Lookup) -> str:
    """What keeps a monitor from telling us for sure; empty when nothing does."""
    if state is None:
        return f"{monitor} does not exist" if lookup.knows_all else ""
    if state.muted:
        return f"{monitor} is muted"
    is_named = lookup.recipient in state.notifies
    if lookup.is_pushed and lookup.recipient and lookup.lists_recipients and not is_named:
        return f"{monitor} does not notify {lookup.recipient}"
    return ""


def _named(monitors: Sequence[str]) -> str:
    shown = ", ".join(monitors[:5])
    return shown if len(monitors) <= 5 else f"{shown} and {len(monitors) - 5} more"
