"""The numbers of a policy file that the gate and the monitor compute with, in samples."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rollback.core.evidence import step_alpha
from rollback.core.policy import Gate, SeverityPolicy, Step
from rollback.policy_files import load_severity

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Between which samples one gate can pass; the first sample of a run is number 1, and is taken at time 0.

    `first` is the first one after the soak. `last` is the last one that is looked at.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """One severity's policy. `gates` has one entry per step up: what is watched before each raise.

    `shares` has the part of alpha of each. The first gate is watched while the feature is off, and the k-th one on step
    k-1 of the ladder, as `bring_back` does it. While something is exposed, a run goes on for twice the deadline.
    """

    p0: float
    alpha: float
    harm_alpha: float
    interval: float
    gates: tuple[GateLimits, ...]
    shares: tuple[float, ...]
    monitor_interval: float
    monitor_seconds: float
    false_alarms_per_year: float

    @property
    def steps(self) -> int:
        """How many steps share alpha."""
        return len(self.gates)

    def may_spend(self, gate: int, attempt: int = 1) -> float:
        """What one gate may spend with the `attempt`-th fix, as `evidence_book.Stage` says it."""
        return step_alpha(self.alpha * self.shares[gate], 1, attempt)


def numbers_of(policy: SeverityPolicy) -> Numbers:
    """The numbers of a loaded policy with a ladder, without a cohort of testers."""
    interval = policy.gate.interval
    gates = [_limits(policy.gate, interval, times=1)]
    gates += [_limits(step, interval, times=2) for step in policy.ladder[:-1]]
    return Numbers(
        p0=policy.gate.p0,
        alpha=policy.gate.alpha,
        harm_alpha=policy.gate.harm_alpha,
        interval=interval.total_seconds(),
        gates=tuple(gates),
        shares=policy.shares(cohort=False),
        monitor_interval=policy.monitoring.interval.total_seconds(),
        monitor_seconds=policy.monitoring.duration.total_seconds(),
        false_alarms_per_year=policy.monitoring.false_alarms_per_year,
    )


def shipped(name: str = "critical") -> Numbers:
    """The numbers of `policies/<name>.yaml` as it stands in this folder."""
    return numbers_of(load_severity(ROOT / "policies" / f"{name}.yaml", {}).policy)


def _limits(part: Gate | Step, interval: timedelta, times: int) -> GateLimits:
    return GateLimits(
        first=-(-part.minimum_soak // interval) + 1,
        last=times * part.deadline // interval + 1,
    )
