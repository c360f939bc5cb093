"""The exposure steps on the way back, found by counting buckets.

Step n of the ladder means at most n percent of the buckets that would be open without us. A step that opens no new
bucket is no step: it would be called a step up while nobody comes back, so it is skipped, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rollback.core.exposure import exposure, kill_percentage_for, opened_by
from rollback.core.flag import FlagConfig, FlagType, Polarity
from rollback.errors import PolicyRefused

FULL = 100

COHORT = -1
"""The place of the cohort's rung: before the first step, with the kill still holding off everybody else."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step: `percent` as the policy says it; `held` buckets that our kill then holds off; `open_buckets` are open.

    `index` is the step's place in the policy's list; that of a cohort ahead of the kill is `COHORT`. `held` 0 is the
    last rung: ours is taken out altogether. `share` is the part of alpha that the evidence for this rung may spend.
    """

    index: int
    percent: float
    held: int
    open_buckets: int
    share: float = field(default=1.0, compare=False)


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs that open something, in order, and why the others are skipped."""

    rungs: tuple[Rung, ...]
    skipped: tuple[str, ...]

    def above(self, open_buckets: int) -> tuple[Rung, ...]:
        """The rungs still to climb when `open_buckets` are open."""
        return tuple(rung for rung in self.rungs if rung.open_buckets > open_buckets or rung.held == 0)


def plan(
    config: FlagConfig, polarity: Polarity, percents: Sequence[float], shares: Sequence[float] | None = None
) -> Ladder:
    """The ladder for a flag as it would be without us. Its last rung is always full exposure.

    `shares` has the share of alpha of each step; None: equal ones. What a skipped step would have had goes to the next
    rung that is there, so that all together spend what the policy says.

    Variant flags are all or nothing (`flipt.md`), so theirs has one rung. Raises PolicyRefused when nobody can say whom
    the flag would serve: taking ours out would then be a raise into the dark.
    """
    found = exposure(config, polarity)
    if found.unknown is not None:
        raise PolicyRefused(
            f"Without us the flag's exposure would be unknown ({found.unknown}), so no step up can be planned.",
            next="Correct the flag first.",
        )
    base = len(found.buckets)
    rungs: list[Rung] = []
    skipped: list[str] = []
    is_open, share = 0, 0.0
    for index, percent in enumerate(percents):
        if percent >= FULL:
            continue
        share += shares[index] if shares else 1 / len(percents)
        if config.type is FlagType.VARIANT:
            skipped.append(f"step {percent:g} % is skipped: a variant flag comes back whole or not at all")
            continue
        held = kill_percentage_for(config, polarity, percent)
        opened = opened_by(config, polarity, held)
        if opened <= is_open:
            skipped.append(f"step {percent:g} % is skipped: it opens no new bucket ({base} are open without us)")
            continue
        rungs.append(Rung(index, percent, held, opened, share))
        is_open, share = opened, 0.0
    if rungs and rungs[-1].open_buckets >= base:
        last = rungs.pop()
        share += last.share
        skipped.append(f"step {last.percent:g} % is skipped: it opens as much as full exposure ({base} buckets)")
    share += (shares[-1] if shares else 1 / len(percents)) if percents else 1.0
    rungs.append(Rung(len(percents) - 1 if percents else 0, float(FULL), 0, base, share))
    return Ladder(tuple(rungs), tuple(skipped))


def needs_a_go(human: Sequence[bool], below: Rung | None, above: Rung) -> bool:
    """Whether a person has to say go before `above` is raised; `human` says it of each step of the policy's list.

    It belongs to the step that is exposed, and to those that are skipped on the way: a step that opens no new bucket
    of this flag is passed all the same.
    """
    first = max(0, below.index) if below is not None else 0
    return any(human[first : above.index])


def reduced(config: FlagConfig, polarity: Polarity, percent: float) -> int | None:
    """How many buckets a kill holds off to reduce to `percent` of what is open without us; None when none is left.

    A reduce that leaves nobody is off under another name, so the caller refuses it; so is any reduce of a variant flag.
    """
    if config.type is FlagType.VARIANT:
        return None
    held = kill_percentage_for(config, polarity, percent)
    return held if opened_by(config, polarity, held) > 0 else None
