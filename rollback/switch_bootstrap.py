"""Builds how switches beside a flag are read: what `bootstrap` is for flags, in a module that no kill ever loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollback.return_holds import SwitchSight

if TYPE_CHECKING:
    from rollback.core.policy import SeverityPolicy, SwitchBeside
    from rollback.session import Session


def switch_sights(session: Session, policy: SeverityPolicy) -> tuple[SwitchSight, ...]:
    """The policy's switches, each with the way to read it (None: only a person knows)."""
    return tuple(_sight(session, switch) for switch in policy.switches)


def _sight(session: Session, switch: SwitchBeside) -> SwitchSight:
    if switch.read_back is None:
        return SwitchSight(switch.name, switch.by)
    from rollback.adapters.client_views.effect_check import EffectCheck

    return SwitchSight(switch.name, switch.by, EffectCheck(switch.read_back, now=session.clock.now).look)
