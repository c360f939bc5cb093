"""What a return would do, said before anything is done (`enable --dry-run`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollback import bootstrap
from rollback.core.approvals import missing
from rollback.core.ladder import plan
from rollback.raising import view
from rollback.release_calendar import ReleaseCalendar

if TYPE_CHECKING:
    from rollback.core.model import Incident
    from rollback.core.policy import SeverityPolicy
    from rollback.output import Output
    from rollback.raising import FlagView
    from rollback.session import Session


def show(session: Session, incident: Incident, output: Output) -> None:
    """The steps on this very flag, and what would be waited for beside the evidence. Writes nothing anywhere."""
    flag = view(session)
    _, policy = bootstrap.policies(session, incident.severity)
    ladder = plan(flag.without_us, session.reference.polarity, policy.percents)
    waits = held_back(policy, incident, flag, session)
    output.line(f"Case {incident.incident_id} is {incident.state}. The return would climb:")
    for rung in ladder.rungs:
        output.line(f"  {rung.percent:g} %: {rung.open_buckets} of 100 buckets open; our kill holds off {rung.held}")
    for line in (*ladder.skipped, *waits):
        output.line(f"  {line}")
    output.line("Nothing was written (--dry-run).")
    if output.as_json:
        rungs = [{"percent": rung.percent, "open": rung.open_buckets, "held": rung.held} for rung in ladder.rungs]
        told = {"dry_run": True, "feature": session.feature, "ladder": rungs, "skipped": list(ladder.skipped)}
        output.document({**told, "waits_for": waits, "exit": 0})


def held_back(policy: SeverityPolicy, incident: Incident, flag: FlagView, session: Session) -> list[str]:
    """What would be waited for beside the evidence, in words."""
    found = []
    if policy.approvals is not None:
        lacking = missing(policy.approvals.as_rule(), incident, flag.digest, session.clock.now())
        found.append(f"before the first step: {lacking or 'the approvals are there'}")
    if policy.freeze is not None:
        frozen = ReleaseCalendar(policy.freeze).words(session.clock.now())
        found.append(f"at each step the release calendar: now {frozen or 'nothing is frozen'}")
    found += [f"the switch {switch.name}, which {switch.by} ends" for switch in policy.switches]
    found += [f"at {step.percent:g} % a person's go" for step in policy.ladder if step.judgement == "human"]
    return found
