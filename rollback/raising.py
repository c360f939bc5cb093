"""Raising exposure: one guarded write at a time, decided on a fresh read of the flag.

A raise carries the case's epoch and the kills it knows. It stops when somebody has disabled in between: a kill of ours
on the flag that the case does not know, or an image of a newer epoch in the history.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from rollback.core import exposure as exposures
from rollback.core.exposure import Exposure
from rollback.core.flag import FlagConfig, FlagSnapshot
from rollback.core.marker import Marker
from rollback.core.model import Incident
from rollback.errors import Conflict, NotHealthy, StoreUnreachable, Unsettled
from rollback.session import Session, nonce

WRITE_WITHIN = 20.0
"""Seconds for one raise: it may wait for a slow store, but not so long that its evidence gets old."""


class Overtaken(NotHealthy):
    """Somebody disabled the feature while it was coming back; theirs wins, and this return stops."""

    code = "overtaken"


@dataclass(frozen=True, slots=True)
class FlagView:
    """The flag as it is, and as it would be without us, with the exposure of both."""

    snapshot: FlagSnapshot
    now: Exposure
    without_us: FlagConfig
    base: Exposure
    marks: tuple[Marker, ...]

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
    raise Overtaken(
        f"{session.reference.name} was disabled again{f' by {who}' if who else ''}: that wins, and this return stops.",
        next=f"See where it stands: rollback status {session.feature}",
    )


def raise_to(session: Session, incident: Incident, held: int, *, cohort: tuple[str, ...] = ()) -> FlagView:
    """Lets our newest kill hold off `held` buckets, with everything else of ours gone; 0 takes all of ours out.

    `cohort` (only with a kill of 100) lets the members of these segments in ahead of the kill. Returns the flag read
    back. Raises `Overtaken`, or what the store raises.
    """
    deadline = session.clock.monotonic() + WRITE_WITHIN
    while True:
        flag = view(session, deadline)
        check_not_overtaken(session, incident, flag)
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
