"""Small writes in the order that protects: nobody whom both ends exclude is let in on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.flag_stores.flipt_json import flag_from_v1, rollout_to_v1
from rollback.adapters.flag_stores.flipt_v1_steps import (
    Create,
    Delete,
    ForeignEdit,
    Order,
    Step,
    UnsafeChange,
    Update,
    UpdateFlag,
    check,
    next_step,
    ours_in,
)
from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, FlagType, Operator, Polarity, Rollout
from rollback.core.marker import Marker

SEGMENTS = ("a", "b")
ON = Polarity()
KILL = Marker("i1", "kill-9-new")
COHORT = Marker("i1", "cohort-9-new")


@dataclass
class Server:
    """What a Flipt v1 does to ranks, by `flipt.md`; it complains about what would break a real one."""

    entries: list[dict[str, Any]]
    enabled: bool = True
    made: int = 0

    @property
    def config(self) -> FlagConfig:
        return flag_from_v1({"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "enabled": self.enabled}, self.entries)

    def take(self, step: Step) -> None:
        match step:
            case Create(rank, rollout):
                assert rank >= 0, "a negative rank breaks the flag"
                assert rank not in [one["rank"] for one in self.entries], "rank taken"
                self.made += 1
                self.entries.append({"id": f"new-{self.made}", "rank": rank, **rollout_to_v1(rollout)})
            case Order(ids):
                assert sorted(ids) == sorted(one["id"] for one in self.entries), "an order names all, once"
                for entry in self.entries:
                    entry["rank"] = ids.index(entry["id"]) + 1
            case Update(id_, rollout):
                entry = next(one for one in self.entries if one["id"] == id_)
                entry.update(rollout_to_v1(rollout))
            case UpdateFlag(config):
                self.enabled = config.enabled
            case Delete(id_):
                self.entries = sorted((one for one in self.entries if one["id"] != id_), key=lambda one: one["rank"])
                for number, entry in enumerate(self.entries, 1):
                    entry["rank"] = number


def evaluated(config: FlagConfig, bucket: int, members: Mapping[str, bool]) -> bool:
    """Flipt's evaluation of a boolean flag."""
    for rollout in config.rollouts:
        if rollout.percentage is not None:
            matches = bucket < exposures.threshold_buckets(rollout.percentage)
        else:
            states = [members[key] for key in rollout.segments]
            matches = any(states) if rollout.operator is Operator.OR else all(states)
        if matches:
            return rollout.value
    return config.enabled


EVERYBODY = [
    (bucket, dict(zip(SEGMENTS, members, strict=True)))
    for bucket, members in product((0, 24, 25, 49, 50, 74, 75, 99), product((True, False), repeat=2))
]


def told(config: FlagConfig) -> list[bool]:
    """What each kind of entity is answered."""
    return [evaluated(config, bucket, members) for bucket, members in EVERYBODY]


def carried_out(server: Server, base: FlagConfig, desired: FlagConfig) -> list[FlagConfig]:
    """Every state on the way, base's first."""
    check(base, desired)
    states = [server.config]
    while (step := next_step(base, desired, server.config)) is not None:
        server.take(step)
        states.append(server.config)
        assert len(states) < 60, "it does not come to an end"
    return states


percentages = st.sampled_from([0.0, 25.0, 50.0, 75.0, 100.0])
descriptions = st.sampled_from(["", "team", "rollback:i1:kill-1-a", "rollback:i1:cohort-1-b", "rollback:i0:kill-1-c"])
rollouts = st.one_of(
    st.builds(Rollout, value=st.booleans(), percentage=percentages, description=descriptions),
    st.builds(
        Rollout,
        value=st.booleans(),
        segments=st.sampled_from([("a",), ("b",), ("a", "b")]),
        operator=st.sampled_from(Operator),
        description=descriptions,
    ),
)


@st.composite
def servers(draw: st.DrawFn) -> Server:
    listed = draw(st.lists(rollouts, max_size=5))
    ranks = sorted(draw(st.lists(st.integers(0, 8), min_size=len(listed), max_size=len(listed), unique=True)))
    entries = [
        {"id": f"r{n}", "rank": rank, **rollout_to_v1(one)}
        for n, (rank, one) in enumerate(zip(ranks, listed, strict=True))
    ]
    return Server(entries, draw(st.booleans()))


@st.composite
def changes(draw: st.DrawFn, base: FlagConfig) -> FlagConfig:
    """New ones in front, other percentages, some gone, another default: all that is ever wanted, and all at once."""
    kept = [one for one in base.rollouts if draw(st.booleans())]
    desired = replace(
        base,
        rollouts=tuple(
            replace(one, percentage=draw(percentages)) if one.percentage is not None and draw(st.booleans()) else one
            for one in kept
        ),
    )
    if draw(st.booleans()):
        desired = replace(desired, enabled=not desired.enabled)
    front = draw(st.sampled_from(["nothing", "kill", "part of a kill", "cohort", "cohort and kill"]))
    if "kill" in front:
        desired = exposures.kill(desired, ON, KILL)
    if front == "part of a kill":
        desired = exposures.with_kill_at(desired, KILL.key, int(draw(percentages)))
    if "cohort" in front:
        desired = exposures.with_cohort(desired, ON, draw(st.sampled_from([("a",), ("a", "b")])), COHORT)
    return desired


@given(data=st.data(), server=servers())
def test_every_entitys_answer_changes_at_most_once_on_the_way(data: st.DataObject, server: Server) -> None:
    base = server.config
    desired = data.draw(changes(base))
    states = carried_out(server, base, desired)
    for answers in zip(*map(told, states), strict=True):
        flips = sum(1 for before, after in pairwise(answers) if before != after)
        assert flips <= 1
    assert states[-1].rollouts == desired.rollouts
    assert states[-1].enabled == desired.enabled


@given(data=st.data(), server=servers())
def test_after_any_interruption_the_rest_is_found_from_what_is_there(data: st.DataObject, server: Server) -> None:
    base = server.config
    desired = data.draw(changes(base))
    check(base, desired)
    taken = data.draw(st.integers(0, 5))
    for _ in range(taken):
        step = next_step(base, desired, server.config)
        if step is not None:
            server.take(step)
    # Somebody who knows nothing of the steps so far goes on.
    carried_out(server, base, desired)
    assert server.config.rollouts == desired.rollouts
    assert next_step(base, desired, server.config) is None


def flag(*listed: Rollout, ranks: tuple[int, ...] = ()) -> Server:
    numbers = ranks or tuple(range(1, len(listed) + 1))
    return Server(
        [
            {"id": f"r{n}", "rank": rank, **rollout_to_v1(one)}
            for n, (rank, one) in enumerate(zip(numbers, listed, strict=True))
        ]
    )


HALF = Rollout(value=True, percentage=50.0)
OTHERS_KILL = Rollout(value=False, percentage=100.0, description="rollback:i2:kill-1-x")


def test_a_kill_is_one_write_at_rank_0() -> None:
    server = flag(HALF)
    base = server.config
    step = next_step(base, exposures.kill(base, ON, KILL), base)
    assert step == Create(0, Rollout(value=False, percentage=100.0, description=str(KILL)))


def test_when_rank_0_is_taken_all_are_numbered_from_1_first_so_that_the_kill_is_ahead_of_late_orders() -> None:
    server = flag(OTHERS_KILL, HALF, ranks=(0, 1))
    base = server.config
    carried_out(server, base, exposures.kill(base, ON, KILL))
    assert [(one.wire["rank"], one.description) for one in server.config.rollouts] == [
        (0, str(KILL)),
        (1, OTHERS_KILL.description),
        (2, ""),
    ]
    # A return that has not seen this kill orders by the ids that it knows.
    server.entries[0]["rank"], server.entries[1]["rank"] = 1, 2
    assert server.config.rollouts[0].description == str(KILL)


@pytest.mark.parametrize("ranks", [(-1, 1), (1, 1)])
def test_a_flag_with_bad_ranks_is_mended_only_together_with_the_kill_ahead(ranks: tuple[int, int]) -> None:
    server = flag(HALF, Rollout(value=True, segments=("a",)), ranks=ranks)
    base = server.config
    assert base.defects
    states = carried_out(server, base, exposures.kill(base, ON, KILL))
    mended = [state for state in states if not state.defects]
    assert mended
    assert not any(answer for state in mended for answer in told(state))


def test_a_cohort_never_goes_to_rank_0_where_a_late_copy_could_land_ahead_of_a_later_kill() -> None:
    server = flag(OTHERS_KILL, HALF)
    base = server.config
    step = next_step(base, exposures.with_cohort(base, ON, ("a",), COHORT), base)
    assert isinstance(step, Create)
    assert step.rank == 3


def test_a_cohort_goes_to_the_front_even_when_what_is_there_lets_everybody_in() -> None:
    server = flag(Rollout(value=True, percentage=100.0))
    base = server.config
    desired = exposures.with_cohort(base, ON, ("a",), COHORT)
    carried_out(server, base, desired)
    assert server.config.rollouts == desired.rollouts


def test_a_cohort_is_not_put_ahead_of_a_kill_that_was_not_seen() -> None:
    server = flag(OTHERS_KILL, HALF)
    base = server.config
    desired = exposures.with_cohort(base, ON, ("a",), COHORT)
    first = next_step(base, desired, base)
    assert first is not None
    server.take(first)
    server.take(Create(0, Rollout(value=False, percentage=100.0, description="rollback:i2:kill-2-y")))
    with pytest.raises(ForeignEdit):
        next_step(base, desired, server.config)
    assert ours_in(base, desired, server.config) == ("new-1",)


def test_a_kill_goes_ahead_of_whatever_somebody_else_has_put_in_front_meanwhile() -> None:
    server = flag(HALF)
    base = server.config
    server.take(Create(0, Rollout(value=True, segments=("a",), description="let them in")))
    carried_out(server, base, exposures.kill(base, ON, KILL))
    assert not any(told(server.config))
    assert len(server.config.rollouts) == 3


def test_two_kills_do_not_fight_for_the_first_place() -> None:
    server = flag(HALF)
    base = server.config
    carried_out(server, base, exposures.kill(base, ON, KILL))
    server.take(Order(tuple(one.wire["id"] for one in server.config.rollouts)))
    server.take(Create(0, OTHERS_KILL))
    assert next_step(base, exposures.kill(base, ON, KILL), server.config) is None


def test_a_kill_whose_answer_was_lost_is_recognised_and_not_doubled() -> None:
    server = flag(HALF)
    base = server.config
    desired = exposures.kill(base, ON, KILL)
    first = next_step(base, desired, base)
    assert first is not None
    server.take(first)
    assert next_step(base, desired, server.config) is None


@pytest.mark.parametrize("edit", ["raised", "removed"])
def test_a_kill_that_somebody_else_has_touched_is_neither_lowered_nor_taken_out(edit: str) -> None:
    server = flag(replace(OTHERS_KILL, percentage=75.0), HALF)
    base = server.config
    lowered = exposures.with_kill_at(base, "kill-1-x", 25)
    gone = exposures.without(base)
    if edit == "raised":
        server.take(Update("r0", OTHERS_KILL))
        with pytest.raises(ForeignEdit):
            next_step(base, gone, server.config)
    else:
        server.take(Delete("r0"))
        assert next_step(base, gone, server.config) is None
    with pytest.raises(ForeignEdit):
        next_step(base, lowered, server.config)


def test_others_edits_elsewhere_do_not_stand_in_the_way_of_a_ramp() -> None:
    server = flag(OTHERS_KILL, HALF)
    base = server.config
    server.take(Delete("r1"))
    server.take(Create(5, Rollout(value=True, percentage=10.0)))
    assert isinstance(next_step(base, exposures.with_kill_at(base, "kill-1-x", 25), server.config), Update)


@dataclass(frozen=True)
class Unsafe:
    """A change with no safe order of small writes."""

    name: str
    of: Any = field(repr=False)


@pytest.mark.parametrize(
    "change",
    [
        Unsafe("reordered", lambda base: replace(base, rollouts=base.rollouts[::-1])),
        Unsafe("new one behind", lambda base: replace(base, rollouts=(*base.rollouts, HALF))),
        Unsafe("other type", lambda base: replace(base, type=FlagType.VARIANT)),
        Unsafe("from another flag", lambda base: replace(base, rollouts=(replace(HALF, wire={"id": "x"}),))),
        Unsafe("twice", lambda base: replace(base, rollouts=(base.rollouts[0], *base.rollouts))),
        Unsafe(
            "value and more",
            lambda base: replace(
                base, enabled=False, rollouts=(replace(base.rollouts[0], value=True), base.rollouts[1])
            ),
        ),
    ],
    ids=lambda change: change.name,
)
def test_a_change_without_a_safe_order_is_refused_before_anything_is_written(change: Unsafe) -> None:
    base = flag(OTHERS_KILL, HALF).config
    with pytest.raises(UnsafeChange):
        check(base, change.of(base))
