"""Flipt v1 has no revision and no write of a whole flag: a change is a sequence of small ones. Which is next?

Pure: from what was read (`base`), what is wanted (`desired`) and what is there (`current`) comes the next step, so
after any failure the caller reads again and asks again.

The order protects. *Each entity's answer changes at most once, from base's to desired's*, because (1) what is new
comes in, from the front to the back, and thresholds grow; (2) the flag's own fields change; (3) thresholds shrink
and rollouts go, from the back to the front. For in (1) an entity's first match is base's or already desired's, and in
(3) what could catch it behind base's match is gone before that match goes.

A new kill is put at rank 0: one write, ahead of all. When the rank is taken, all are first
ordered as they are, which numbers them from 1: so a kill stays ahead of whoever orders later by a list without it.
Anything else that is new is created at the end, where nobody who is decided notices, and then ordered to the front. A
late copy of that write finds its rank taken. Kill path: standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollback.core import marker as markers
from rollback.core.exposure import threshold_buckets
from rollback.core.flag import BUCKETS, FlagConfig, Rollout

FLAG_FIELDS = ("enabled", "default_variant", "description")


@dataclass(frozen=True, slots=True)
class Create:
    """Make a new rollout at this rank (never negative: that breaks the flag)."""

    rank: int
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class Order:
    """Number the rollouts from 1 in this order. Always all of them: a part would give ranks twice."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Give an existing rollout this content."""

    id: str
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class UpdateFlag:
    """Give the flag these fields."""

    config: FlagConfig


@dataclass(frozen=True, slots=True)
class Delete:
    """Take a rollout out."""

    id: str


Step = Create | Order | Update | UpdateFlag | Delete


class ForeignEdit(Exception):
    """What is there contradicts both what was read and what is wanted: somebody else has written."""


class UnsafeChange(Exception):
    """This change cannot be made in steps that never let in a user whom both ends exclude."""


def check(base: FlagConfig, desired: FlagConfig) -> None:
    """Raises `UnsafeChange` for what `next_step` has no safe order for (this program never wants it)."""
    if desired.type is not base.type or desired.rules != base.rules or desired.key != base.key:
        raise UnsafeChange("only rollouts, the default and the description can be changed")
    known = {rollout_id(one): one for one in base.rollouts}
    kept = [rollout_id(one) for one in desired.rollouts if one.wire is not None]
    if "" in known or not set(kept) <= set(known) or len(set(kept)) < len(kept):
        raise UnsafeChange("a rollout of it was not read from this flag")
    if kept != [id_ for id_ in known if id_ in kept]:
        raise UnsafeChange("existing rollouts would change their order")
    front = len(desired.rollouts) - len(kept)
    if any(one.wire is not None for one in desired.rollouts[:front]):
        raise UnsafeChange("new rollouts must come first")
    odd = [one for one in _changed(base, desired) if not _only_percentage(known[rollout_id(one)], one)]
    if odd and (len(_changed(base, desired)) > 1 or front or len(kept) < len(known) or _fields(base, desired)):
        raise UnsafeChange("a rollout's value or segments can only be changed alone")


def next_step(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> Step | None:
    """The next step towards `desired`, None when all that it changes on `base` is in effect.

    Raises `ForeignEdit` when somebody else has written in a way that makes the next step doubtful.
    """
    new = tuple(one for one in desired.rollouts if one.wire is None)
    return (
        (_next_insertion(new, base, current) if new else None)
        or _next_update(base, desired, current)
        or _next_fields(base, desired, current)
        or _next_removal(base, desired, current)
    )


def ours_in(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> tuple[str, ...]:
    """The ids of the new rollouts of `desired` that are there already."""
    strangers = _strangers(base, current)
    return tuple(
        rollout_id(found)
        for one in desired.rollouts
        if one.wire is None
        for found in strangers
        if _is_same_rollout(one, found)
    )


def rollout_id(rollout: Rollout) -> str:
    """The store's id of an existing rollout, empty without one."""
    return str(rollout.wire.get("id", "")) if isinstance(rollout.wire, dict) else ""


def rollout_rank(rollout: Rollout) -> int:
    """The rank of an existing rollout, as the store has it."""
    return int(rollout.wire.get("rank") or 0) if isinstance(rollout.wire, dict) else 0


# -- what is new -----------------------------------------------------------------------------------------------


def _next_insertion(new: Sequence[Rollout], base: FlagConfig, current: FlagConfig) -> Step | None:
    strangers = _strangers(base, current)
    found = [next((one for one in strangers if _is_same_rollout(wanted, one)), None) for wanted in new]
    for wanted, there in zip(new, found, strict=True):
        if there is not None and there != wanted:
            raise ForeignEdit("somebody else has changed what was just written")
    others = [one for one in strangers if not any(_is_same_rollout(wanted, one) for wanted in new)]
    is_kill = holds_a_kill(new)
    if others and not is_kill:
        # Ours might come to stand ahead of a kill that we have not seen.
        raise ForeignEdit("somebody else has added a rollout")
    missing = [wanted for wanted, there in zip(new, found, strict=True) if there is None]
    if missing:
        return _creation(missing[0], current, at_front=is_kill)
    ours = [one for one in found if one is not None]
    if _ranks_are_bad(current) or not _is_in_front(ours, others, current):
        front = [rollout_id(one) for one in ours]
        return Order((*front, *(id_ for id_ in map(rollout_id, current.rollouts) if id_ not in front)))
    return None


def _creation(rollout: Rollout, current: FlagConfig, *, at_front: bool) -> Step:
    ranks = [rollout_rank(one) for one in current.rollouts]
    if not at_front or _ranks_are_bad(current):
        # A flag with bad ranks may fail for everybody now: only an order with ours ahead may mend it.
        return Create(max([0, *ranks]) + 1, rollout)
    if min(ranks, default=1) > 0:
        return Create(0, rollout)
    return Order(tuple(rollout_id(one) for one in current.rollouts))


def _is_in_front(ours: Sequence[Rollout], others: Sequence[Rollout], current: FlagConfig) -> bool:
    """Ours come first, in their order; only what others have added and says the same to everybody may be ahead."""
    order, front = [rollout_id(one) for one in current.rollouts], [rollout_id(one) for one in ours]
    positions = [order.index(id_) for id_ in front]
    ahead = [one for one in current.rollouts[: positions[-1]] if rollout_id(one) not in front]
    agreeing = [rollout_id(one) for one in others if is_full(one) and one.value == ours[0].value]
    return positions == sorted(positions) and all(rollout_id(one) in agreeing for one in ahead)


def _ranks_are_bad(current: FlagConfig) -> bool:
    """Negative or equal ranks, which an order of all rollouts mends."""
    ranks = [rollout_rank(one) for one in current.rollouts]
    return min(ranks, default=0) < 0 or len(set(ranks)) < len(ranks)


def holds_a_kill(new: Sequence[Rollout]) -> bool:
    """A kill alone: by its marker, or a threshold that decides for everybody. It may go ahead of what others wrote."""
    marker = markers.parse(new[0].description) if len(new) == 1 else None
    return len(new) == 1 and (is_full(new[0]) or (marker is not None and marker.role == "kill"))


def is_full(rollout: Rollout) -> bool:
    """A threshold that decides for everybody."""
    return rollout.percentage is not None and threshold_buckets(rollout.percentage) == BUCKETS


def _strangers(base: FlagConfig, current: FlagConfig) -> list[Rollout]:
    known = {rollout_id(one) for one in base.rollouts}
    return [one for one in current.rollouts if rollout_id(one) not in known]


def _is_same_rollout(wanted: Rollout, there: Rollout) -> bool:
    """By the marker's key, which is unique; without a marker by content."""
    ours, theirs = markers.parse(wanted.description), markers.parse(there.description)
    if ours is None:
        return there == wanted
    return theirs is not None and (theirs.incident, theirs.key) == (ours.incident, ours.key)


# -- what changes and what goes ----------------------------------------------------------------------------------


def _next_update(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> Update | None:
    """Everything but shrinking thresholds, from the front."""
    before = {rollout_id(one): one for one in base.rollouts}
    for wanted in _changed(base, desired):
        id_ = rollout_id(wanted)
        if not _shrinks(before[id_], wanted) and _is_due(before[id_], wanted, _at(current, id_)):
            return Update(id_, wanted)
    return None


def _next_removal(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> Step | None:
    """Shrinking thresholds and removals, from the back."""
    wanted = {rollout_id(one): one for one in desired.rollouts if one.wire is not None}
    for old in reversed(base.rollouts):
        id_ = rollout_id(old)
        there = _at(current, id_)
        if id_ not in wanted:
            if there is not None and there != old:
                raise ForeignEdit("somebody else has changed a rollout that was to be taken out")
            if there is not None:
                return Delete(id_)
        elif _shrinks(old, wanted[id_]) and _is_due(old, wanted[id_], there):
            return Update(id_, wanted[id_])
    return None


def _next_fields(base: FlagConfig, desired: FlagConfig, current: FlagConfig) -> UpdateFlag | None:
    due = False
    for name in _fields(base, desired):
        now = getattr(current, name)
        if now not in (getattr(base, name), getattr(desired, name)):
            raise ForeignEdit(f"somebody else has changed the flag's {name.replace('_', ' ')}")
        due = due or now != getattr(desired, name)
    if not due:
        return None
    return UpdateFlag(replace(current, **{name: getattr(desired, name) for name in _fields(base, desired)}))


def _fields(base: FlagConfig, desired: FlagConfig) -> list[str]:
    return [name for name in FLAG_FIELDS if getattr(base, name) != getattr(desired, name)]


def _changed(base: FlagConfig, desired: FlagConfig) -> list[Rollout]:
    before = {rollout_id(one): one for one in base.rollouts}
    return [one for one in desired.rollouts if one.wire is not None and one != before[rollout_id(one)]]


def _only_percentage(old: Rollout, new: Rollout) -> bool:
    """The percentage of a threshold, and the description, which nobody is evaluated by."""
    both_thresholds = (old.percentage is None) == (new.percentage is None)
    return both_thresholds and replace(new, percentage=old.percentage, description=old.description) == old


def _shrinks(old: Rollout, new: Rollout) -> bool:
    return old.percentage is not None and new.percentage is not None and new.percentage < old.percentage


def _is_due(old: Rollout, wanted: Rollout, there: Rollout | None) -> bool:
    if there is None:
        raise ForeignEdit("somebody else has taken out a rollout that was to be changed")
    if there not in (old, wanted):
        raise ForeignEdit("somebody else has changed a rollout that was to be changed")
    return there != wanted


def _at(current: FlagConfig, id_: str) -> Rollout | None:
    return next((one for one in current.rollouts if rollout_id(one) == id_), None)
