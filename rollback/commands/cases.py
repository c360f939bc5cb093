"""What the commands on cases do."""

from __future__ import annotations

from rollback import bootstrap
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core import exposure as exposures
from rollback.core.effects import LowerExposure
from rollback.core.flag import BUCKETS, FlagType
from rollback.core.history import Actor
from rollback.core.ladder import reduced
from rollback.core.machine import Decision, decide
from rollback.core.model import Severity, State
from rollback.core.refusals import firing_words
from rollback.disable import new_incident_id
from rollback.errors import PolicyRefused
from rollback.lowering import carry_out, prove
from rollback.output import Output
from rollback.prover import Prover
from rollback.raising import FlagView, view
from rollback.redaction import redact
from rollback.session import Session, nonce
from rollback.settling import settle
from rollback.words import clean, world_line


class Command:
    """One command on a case: the session, what was left open is settled, then one event."""

    def __init__(self, feature: str, reason: str, actor: str | Actor | None, dry_run: bool, output: Output) -> None:
        self.reason = redact(reason)
        self.dry_run = dry_run
        self.output = output
        self.session: Session = bootstrap.open_session(feature, None, actor, self.output.warn)
        bootstrap.waiting.tell = self.output.waiting
        self.output.line(world_line(self.session.world))
        self.controller = Controller(self.session)
        if not dry_run:
            settle(self.session, self.controller, lambda: bootstrap.prover(self.session), self.output.line)
            self.controller.reload()

    # -- cases ------------------------------------------------------------------------------------------------------

    def open(self, severity: str, *, sensitive: bool) -> int:
        """A low case never touches the flag; a high one reduces it as the policy says."""
        wanted = Severity(severity)
        incident = self.controller.incident
        if incident is not None:
            raise PolicyRefused(
                f"The open case of this feature is {incident.incident_id} ({incident.severity}, {incident.state}).",
                next=f"Raise it: rollback raise {self.session.feature} --severity {severity} --reason R",
            )
        held = self._held_for(view(self.session)) if wanted is Severity.HIGH else None
        opened = e.CaseOpened(
            new_incident_id(self.session),
            self.session.feature,
            wanted,
            by=self.session.actor.name,
            reason=self.reason,
            policy_hash=bootstrap.policy_digest(self.session),
            sensitive=sensitive,
            held=held,
        )
        if self.dry_run:
            return self._would(f"open a {wanted} case" + (f" and hold off {held} buckets" if held is not None else ""))
        self.controller.open_case(opened, reason=self.reason)
        if held is None:
            self.controller.handle(e.FixingStarted(), reason=self.reason)
            return self._done("Open; the feature stays on and untouched while it is fixed.")
        return self._reduce(held)

    def raise_to(self, severity: str) -> int:
        """Raises, or lowers while the feature is on; then acts as the new severity's policy says."""
        wanted = Severity(severity)
        incident = self.controller.require()
        if wanted.rank < incident.severity.rank:
            return self._event(e.SeverityLowered(wanted, self.session.actor), f"The case is {wanted} now.")
        if wanted is Severity.CRITICAL:
            raise PolicyRefused(
                "A critical case is off for everybody, and that has its own command.",
                next=f"rollback disable {self.session.feature} --reason R",
            )
        held = self._held_for(view(self.session))
        event = e.SeverityRaised(wanted, held)
        if self.dry_run:
            decide(incident, event, now=self.session.clock.now(), nonce="")
            return self._would(f"raise the case to {wanted} and hold off {held} buckets")
        self.controller.handle(event, reason=self.reason)
        return self._reduce(held)

    def reduce_again(self) -> int:
        """An open high case that is on its way back goes down to its reduced level again."""
        return self._reduce(self._held_for(view(self.session)))

    def _held_for(self, flag: FlagView) -> int:
        """How many buckets a reduction holds off; refused where it would leave nobody."""
        _, policy = bootstrap.policies(self.session, Severity.HIGH)
        percent = policy.reduce_to or BUCKETS
        if flag.without_us.type is FlagType.VARIANT:
            raise PolicyRefused(
                "A variant flag is all or nothing, so it cannot be reduced.",
                next=f"rollback disable {self.session.feature}",
            )
        held = reduced(flag.without_us, self.session.reference.polarity, percent)
        if held is None:
            raise PolicyRefused(
                f"Reducing to {percent:g} % would leave nobody ({flag.base.percent} of 100 buckets are open).",
                next=f"Turn it off instead: rollback disable {self.session.feature}, or keep it on with a low case.",
            )
        return held

    def _reduce(self, held: int) -> int:
        epoch = self.controller.require().epoch + 1
        decision = self.controller.handle(e.ReduceCommanded(f"kill-{epoch}-{nonce()}", epoch, held), reason=self.reason)
        settled = self._lower(decision)
        flag = view(self.session)
        now = flag.now.percent
        return self._done(
            f"Reduced: {now} of 100 buckets are open ({flag.base.percent} without us).", 0 if settled else 5
        )

    def _lower(self, decision: Decision, prover: Prover | None = None) -> bool:
        return all(
            carry_out(self.session, self.controller, effect, self.reason, prover=prover, say=self.output.line)
            for effect in decision.effects
            if isinstance(effect, LowerExposure)
        )

    def adopt(self) -> int:
        """The case is taken from the marker; its exposure is read from the flag and proven here."""
        flag = view(self.session)
        incident = self.controller.incident
        if incident is not None:
            raise PolicyRefused(
                f"{self.session.feature} already has the open case {incident.incident_id} here.",
                next=f"See where it stands: rollback status {self.session.feature}",
            )
        kills = [mark for mark in flag.marks if mark.role == "kill"]
        if not kills:
            raise PolicyRefused(
                "The flag carries no kill of a case, so there is nothing to adopt.",
                next=f"See where it stands: rollback status {self.session.feature}",
            )
        newest = kills[0]
        held = self._held_by(flag)
        event = e.Adopted(newest.incident, self.session.feature, newest.epoch, held, tuple(mark.key for mark in kills))
        if self.dry_run:
            return self._would(f"take over {newest.incident} by {newest.actor or 'somebody'} at {newest.at}")
        self.controller.handle(
            event, reason=self.reason, data={"by": newest.actor, "at": newest.at, "head": newest.head}
        )
        prover = bootstrap.prover(self.session)
        try:
            if held == BUCKETS:
                proven = prove(self.session, self.controller, prover, self.output.line, wait=flag.now.is_off).proven
            else:
                self.output.line("It lets users in, and nobody here watches them: turning it off.")
                epoch = newest.epoch + 1
                kill = e.DisableCommanded(f"kill-{epoch}-{nonce()}", epoch, by=self.session.actor.name)
                proven = self._lower(self.controller.handle(kill), prover)
        finally:
            prover.close()
        return self._done(f"Taken over: case {newest.incident}.", 0 if proven else 5)

    def _held_by(self, flag: FlagView) -> int:
        """How many buckets the first kill on the flag holds off (100 for a variant flag)."""
        rollouts = [
            r for r in flag.snapshot.config.rollouts if "rollback:" in r.description and r.percentage is not None
        ]
        return exposures.threshold_buckets(rollouts[0].percentage or 0.0) if rollouts else BUCKETS

    # -- facts ------------------------------------------------------------------------------------------------------

    def fix(self, commit: str) -> int:
        """Another commit is another attempt; the same one changes nothing."""
        known = redact(commit, max_length=80)
        return self._event(e.FixDeployed(known, by=self.session.actor.name), f"Fix {known} is recorded.")

    def note(self, text: str) -> int:
        """Kept whether or not a case is open."""
        words = redact(text, max_length=2000)
        if self.dry_run:
            return self._would("keep the note")
        if self.controller.incident is not None:
            self.controller.handle(e.NoteAdded(words), data={"text": words})
        else:
            self.controller.fact("note_added", data={"text": words})
        return self._done("Noted.")

    def keep_off(self) -> int:
        """No return may start until it is released."""
        return self._event(e.KeptOff(), "Kept off until somebody releases it.")

    def release(self) -> int:
        """Shows what is accepted: the flag as it would be without us."""
        flag = view(self.session)
        incident = self.controller.require()
        before = "unknown" if incident.audience is None else str(incident.audience)
        self.output.line(
            f"Without us {flag.base.percent} of 100 buckets would be open (before the incident: {before})."
        )
        for why in flag.base.why:
            self.output.line(f"  {why}")
        if firing := firing_words(incident):
            self.output.line(f"Not waited for any more, whether or not it is over: {clean(firing)}.", fg="yellow")
        return self._event(e.Released(flag.digest), "Released: returns may start, and the flag is accepted as it is.")

    # -- endings ----------------------------------------------------------------------------------------------------

    def _event(self, event: e.Event, said: str) -> int:
        if self.dry_run:
            decide(self.controller.require(), event, now=self.session.clock.now(), nonce="")
            return self._would(said)
        self.controller.handle(event, reason=self.reason)
        return self._done(said)

    def _would(self, what: str) -> int:
        self.output.line(f"Would: {what}. Nothing was written (--dry-run).")
        if self.output.as_json:
            self.output.document({"dry_run": True, "feature": self.session.feature, "would": what, "exit": 0})
        return 0

    def _done(self, said: str, code: int = 0) -> int:
        self.session.history.feed()
        incident = self.controller.reload()
        self.output.line(said, fg="green" if code == 0 else "yellow")
        if incident is not None:
            self.output.line(f"Case {incident.incident_id}: {incident.severity}, {incident.state}.")
        if self.output.as_json:
            self.output.document(self._document(said, code))
        return code

    def _document(self, said: str, code: int) -> dict[str, object]:
        incident = self.controller.incident
        return {
            "feature": self.session.feature,
            "state": incident.state.value if incident else State.NORMAL.value,
            "severity": incident.severity.value if incident else None,
            "incident": incident.incident_id if incident else None,
            "fix": (incident.fix or None) if incident else None,
            "world": self.session.world,
            "said": said,
            "exit": code,
        }
