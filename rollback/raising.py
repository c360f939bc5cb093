"""Raising exposure: one guarded write at a time, decided on a fresh read of the flag.

A raise carries the case's epoch and the kills it knows. It stops when somebody has disabled in between: a kill of ours
on the flag that the case does not know, or an image of a newer epoch in the history.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from rollback.core import exposure as exposures
from rollback.core.effects import LowerExposure
from rollback.core.exposure import Exposure
from rollback.core.flag import BUCKETS, FlagConfig, FlagSnapshot, Polarity
from rollback.core.marker import Marker
from rollback.core.model import Incident
from rollback.errors import (
    Conflict,
    FlagMissing,
    NotHealthy,
    PolicyRefused,
    StoreError,
    StoreUnreachable,
    Unsettled,
)
from rollback.session import Session, nonce

WRITE_WITHIN = 20.0
"""Seconds for one raise: it may wait for a slow store, but not so long that its evidence gets old."""


class Overtaken(NotHealthy):
    """Somebody disabled the feature while it was coming back; theirs wins, and this return stops."""

    code = "overtaken"


class FlagEdited(Exception):
    """Somebody has edited the flag since its evidence was collected: what was tested is not what would be raised."""


@dataclass(frozen=True, slots=True)
class FlagView:
    """The flag as it is, and as it would be without us, with the exposure of both."""

    snapshot: FlagSnapshot
    now: Exposure
    without_us: FlagConfig
    base: Exposure
    marks: tuple[Marker, ...]
    polarity: Polarity

    @property
    def has_kill(self) -> bool:
        """Whether a kill of ours is there."""
        return any(mark.role == "kill" for mark in self.marks)

    @property
    def open_to_all(self) -> int:
        """How many buckets are open beside a cohort that we let in; 0 when that is not known."""
        cohorts = [mark.key for mark in self.marks if mark.role == "cohort"]
        outside = exposures.without(self.snapshot.config, cohorts)
        return exposures.exposure(outside, self.polarity).percent or 0

    @property
    def digest(self) -> str:
        """A hash of everyone else's configuration: it changes when somebody edits the flag or its segments."""
        config = self.without_us
        told = {
            "type": config.type.value,
            "enabled": config.enabled,
            "default": config.default_variant,
            "rollouts": [(r.value, r.percentage, r.segments, r.operator.value) for r in config.rollouts],
            "rules": [
                (r.segments, r.operator.value, [(d.variant, d.rollout) for d in r.distributions]) for r in config.rules
            ],
            "segments": sorted(
                (s.key, s.match_all, [(c.type, c.property, c.operator, c.value) for c in s.constraints])
                for s in config.segments.values()
            ),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def view(session: Session, deadline: float | None = None) -> FlagView:
    """Reads the flag with its segments. Raises what `FlagStore.read` raises."""
    until = session.clock.monotonic() + WRITE_WITHIN if deadline is None else deadline
    snapshot = session.store.read(session.reference.ref, deadline=until, segments=True)
    without_us = exposures.without(snapshot.config)
    polarity = session.reference.polarity
    return FlagView(
        snapshot,
        exposures.exposure(snapshot.config, polarity),
        without_us,
        exposures.exposure(without_us, polarity),
        exposures.ours(snapshot.config),
        polarity,
    )


def check_not_overtaken(session: Session, incident: Incident, flag: FlagView) -> None:
    """Raises `Overtaken` when a disable that this return does not know of is on the flag or in the history."""
    strangers = [mark for mark in flag.marks if mark.role == "kill" and mark.key not in incident.kills]
    latest = session.history.latest(session.feature)
    image = (latest.entry.after or {}) if latest.entry else {}
    is_newer = int(image.get("epoch") or 0) > incident.epoch or (
        image.get("incident_id") not in (None, incident.incident_id)
    )
    if not strangers and not is_newer:
        return
    who = strangers[0].actor if strangers else (latest.entry.actor.name if latest.entry else "")
    raise disabled_again(session, who)


def disabled_again(session: Session, who: str = "") -> Overtaken:
    """What a return says when it stops for somebody's disable."""
    return Overtaken(
        f"{session.reference.name} was disabled again{f' by {who}' if who else ''}: that wins, and this return stops.",
        next=f"See where it stands: rollback status {session.feature}",
    )


def check_may_begin(session: Session, incident: Incident, flag: FlagView) -> None:
    """Raises `PolicyRefused` when a person has to see the flag first, `Overtaken` when it carries a newer kill.

    A newer kill that the case does not know is of another machine, or of a process that died: a return must not sweep
    it away unseen. A disable here takes it over.
    """
    if why := audience_grown(incident, flag):
        hint = f"Accept that: rollback release {session.feature} --reason R; then enable again."
        raise PolicyRefused(why, next=hint)
    newer = [m for m in flag.marks if m.role == "kill" and m.key not in incident.kills and m.epoch > incident.epoch]
    if newer:
        error = disabled_again(session, newer[0].actor)
        raise Overtaken(error.message, next=f"Take it over: rollback disable {session.feature}; then enable again.")


def open_at_settled(session: Session, incident: Incident, flag: FlagView) -> int:
    """How many buckets the case's last settled step leaves open of the flag as it would be without us."""
    held = BUCKETS if incident.settled_held is None else incident.settled_held
    return exposures.opened_by(flag.without_us, session.reference.polarity, held)


def audience_grown(incident: Incident, flag: FlagView) -> str:
    """Why a person has to see the flag before it comes back (invariant 11); empty when nobody has to."""
    now, before = flag.base.percent, incident.audience
    if before is None or now is None or now <= before or incident.accepted_digest == flag.digest:
        return ""
    return f"Without us {now} of 100 buckets would be open, and {before} were before: {'; '.join(flag.base.why)}."


def let_in(incident: Incident, flag: FlagView, allowed: int) -> str:
    """How a foreign edit lets in more than `allowed` buckets; empty when it does not."""
    percent = flag.now.percent if flag.now.percent is None else flag.open_to_all
    if incident.settled_held and not flag.has_kill:
        return "our kill was taken out by somebody else"
    if percent is not None and percent <= allowed:
        return ""
    many = "an unknown number" if percent is None else str(percent)
    return f"a foreign edit opens {many} of 100 buckets, and {allowed} may be open"


def wide_enough(session: Session, effect: LowerExposure, at_most: int) -> LowerExposure:
    """The effect; one that puts a reduction back holds off more where a foreign edit has opened buckets besides.

    `at_most` is how many were open while it was reduced; 0: not known. A reduction never becomes an off.
    """
    if effect.held == BUCKETS or not at_most:
        return effect
    held = effect.held
    try:
        without_us = view(session).without_us
    except (StoreError, FlagMissing):
        return effect
    while held < BUCKETS - 1 and exposures.opened_by(without_us, session.reference.polarity, held) > at_most:
        held += 1
    return replace(effect, held=held)


def next_kill(incident: Incident) -> tuple[str, int]:
    """Key and epoch of a kill that puts drift right."""
    epoch = incident.epoch + 1
    return f"kill-{epoch}-{nonce()}", epoch


def raise_to(
    session: Session, incident: Incident, held: int, *, digest: str = "", cohort: tuple[str, ...] = ()
) -> FlagView:
    """Lets our newest kill hold off `held` buckets, with everything else of ours gone; 0 takes all of ours out.

    `digest` is of the flag that the evidence is about (empty: there is none). `cohort` (only with a kill of 100) lets
    the members of these segments in ahead of the kill. Returns the flag read back. Raises `Overtaken`, `FlagEdited`
    (nothing written), or what the store raises.
    """
    deadline = session.clock.monotonic() + WRITE_WITHIN
    while True:
        flag = view(session, deadline)
        check_not_overtaken(session, incident, flag)
        if digest and flag.digest != digest:
            raise FlagEdited("somebody edited the flag")
        desired = _desired(session, incident, flag, held, cohort)
        try:
            session.store.write(flag.snapshot, desired, deadline=deadline)
        except Conflict:
            if session.clock.monotonic() >= deadline:
                raise
            continue
        except Unsettled as error:
            raise Unsettled(f"The raise may or may not have arrived: {error.message}", next=error.next) from error
        after = view(session, deadline)
        check_not_overtaken(session, incident, after)
        return after


def _desired(session: Session, incident: Incident, flag: FlagView, held: int, cohort: tuple[str, ...]) -> FlagConfig:
    config = flag.snapshot.config
    kills = [mark for mark in flag.marks if mark.role == "kill"]
    if held == 0:
        cohorts = [mark.key for mark in flag.marks if mark.role == "cohort"]
        return exposures.without(config, [*incident.kills, *cohorts])
    if not kills:
        raise StoreUnreachable("Our kill is no longer on the flag, so there is nothing to raise.")
    newest = kills[0]
    older = [mark.key for mark in kills[1:]]
    desired = exposures.with_kill_at(exposures.without(config, older), newest.key, held)
    if cohort:
        mark = replace(newest, key=f"cohort-{newest.epoch}-{nonce()}")
        desired = exposures.with_cohort(desired, session.reference.polarity, cohort, mark)
    return desired
