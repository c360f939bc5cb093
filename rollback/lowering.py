"""Carrying out a `LowerExposure` effect: put the kill, record what came of it, prove it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS
from rollback.core.turning import last_turned
from rollback.disable import Target, put_kill
from rollback.errors import ConfigurationError, FlagMissing, StoreError
from rollback.prover import lacking_words

if TYPE_CHECKING:
    from rollback.controller import Controller
    from rollback.core.model import Incident
    from rollback.core.proof import OffProof
    from rollback.prover import Prover
    from rollback.session import Session

TRY_FOR = 60.0
"""Seconds of trying when the store does not answer; then a person is called, and the off stays pending."""


def carry_out(
    session: Session,
    controller: Controller,
    effect: LowerExposure,
    why: str,
    *,
    prover: Prover | None,
    say: Callable[[str], None],
    wait: bool = True,
) -> bool:
    """Lowers exposure as `effect` says; True when it is settled (for off: proven).

    `prover` None, or `wait` False: one look at most, and off may stay unproven (state `disabling`).
    Raises nothing that the store raises: an off that did not come about is recorded as pending, and said.
    """
    incident = controller.require()
    target = Target(incident.incident_id, effect.epoch, attached=True)
    try:
        kill = put_kill(
            session,
            reason=why,
            deadline=session.clock.monotonic() + TRY_FOR,
            on_trouble=lambda error, left: say(
                f"The flag store does not answer ({error}); trying for {left:.0f} s more."
            ),
            held=effect.held,
            target=target,
            key=effect.key,
        )
    except (StoreError, FlagMissing, ConfigurationError) as error:
        if effect.held == BUCKETS:
            controller.handle(e.OffUnsettled(error.message[:300]))
        else:
            controller.handle(e.HumanCalled(f"the reduction did not come about: {error.message}"[:300]))
        say(f"NOT LOWERED as far as anybody knows: {error.message}")
        return False
    audience = exposures.exposure(kill.audience, session.reference.polarity).percent
    if effect.held < BUCKETS:
        controller.handle(e.ReduceSettled(effect.key, effect.held, audience))
        return True
    was_off = kill.was_off(session.reference.polarity)
    controller.handle(e.OffWritten(effect.key, audience, was_off, kill.at, kill.clock))
    return prover is not None and prove(session, controller, prover, say, wait=wait).proven


def prove(
    session: Session, controller: Controller, prover: Prover, say: Callable[[str], None], *, wait: bool
) -> OffProof:
    """Proves off for the case as it stands and records the result; with `wait` False by one look alone."""
    clock = session.clock
    turned = turned_by_record(session, controller.require())
    if turned is not None:
        prover.turned_before(turned)
    until = clock.monotonic() + (session.reference.prove_within_seconds if wait else 5.0)
    proof = prover.prove(until, lambda _: None) if wait else prover.look(until)[0]
    if proof.proven:
        controller.handle(e.OffProven(), data={"off_basis": proof.to_json()})
        say("Off is proven.")
    elif wait:
        controller.handle(e.OffNotProven(lacking_words(proof)[:300]), data={"off_basis": proof.to_json()})
        say(f"Off is not proven: {lacking_words(proof)}.")
    return proof


def turned_by_record(session: Session, incident: Incident) -> float | None:
    """When the last replica turned, on this process's monotonic clock; None when the record cannot tell."""
    clock = session.clock
    return last_turned(incident, clock.now(), clock.monotonic(), session.reference.replica_lag_seconds)
