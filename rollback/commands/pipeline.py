"""What `ci` does: records a deploy, and brings the feature back when that deploy is the case's fix.

The return is that of `enable`, with no person behind it: budgets and cool-downs hold, and nobody is there to go on
watching when the job is gone. So without a second watcher it ends before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rollback import bootstrap, status
from rollback.commands import return_plan, returning
from rollback.commands.pipeline_document import Verdict, evidence_rows, timeline_rows, verdict_of
from rollback.commands.pipeline_return import PipelineRun
from rollback.commands.progress import ReturnProgress
from rollback.controller import Controller
from rollback.core import events as e
from rollback.core.deploys import (
    Counts,
    Deploy,
    changes_code,
    counts,
    failure,
    is_commit,
    is_run_url,
    is_workflow,
    may_be_a_person,
    same_commit,
)
from rollback.core.history import Actor
from rollback.core.model import Severity, State
from rollback.errors import ConfigurationError, PolicyRefused, RollbackError
from rollback.identity import actor as this_account
from rollback.raising import view
from rollback.redaction import redact
from rollback.serve_presence import serving
from rollback.settling import settle
from rollback.words import when, world_line

if TYPE_CHECKING:
    from rollback.core.model import Incident
    from rollback.output import Output
    from rollback.session import Session


@dataclass(frozen=True, slots=True)
class Request:
    """The command's words. `unwatched` is the reason for going on without a second watcher, empty: not going on.

    `actor` is a name that somebody typed, or somebody whom the caller has authenticated; None: this process's account.
    `second_watcher` True: the caller is one itself; else it is looked for beside the journal.
    """

    feature: str
    deploy: Deploy
    reason: str = ""
    unwatched: str = ""
    until_full: bool = False
    actor: str | Actor | None = None
    dry_run: bool = False
    second_watcher: bool = False


def checked(request: Request) -> Request:
    """The request with its texts cut and redacted. Raises `ConfigurationError` for a commit or a link that is none.

    Neither is repeated in the message: whatever was put there by mistake may be secret.
    """
    deploy = request.deploy
    if not is_commit(deploy.commit):
        raise ConfigurationError(
            "--fix is no commit: it must be 7 to 64 hex digits.", next='Give the commit that was deployed: --fix "$SHA"'
        )
    if may_be_a_person(deploy.commit):
        raise ConfigurationError(
            "--fix could be somebody's number, so it is not kept.", next="Give more of its digits."
        )
    if deploy.run_url and not is_run_url(deploy.run_url):
        raise ConfigurationError(
            "--run-url is no plain link: https://host/path, without user, password and query.",
            next="Give the page of the run.",
        )
    workflow = deploy.workflow if is_workflow(deploy.workflow) else ""
    told = replace(deploy, by=redact(deploy.by, max_length=80), workflow=workflow)
    why = redact(request.reason) or f"fix {deploy.commit} was deployed"
    return replace(request, deploy=told, reason=why, unwatched=redact(request.unwatched))


def run(
    request: Request,
    output: Output,
    listen: Callable[[], Callable[[], bool]],
    *,
    hand_over: Callable[[], bool] | None = None,
) -> int:
    """Runs the command; returns its exit code. `listen` and `hand_over` are as in `returning.run`.

    Its document goes to `output.document` however it is called and however it ends, also before an error is raised: it
    has `verdict`, `deploy`, `evidence` and `timeline` beside what `enable --json` has.
    """
    request = checked(request)
    asks = request.actor
    if not isinstance(asks, Actor):
        name = asks or this_account(None).name
        asks = Actor(name, authenticated="" if asks else "ci")
    session = bootstrap.open_session(request.feature, None, asks, output.warn)
    bootstrap.waiting.tell = output.waiting
    output.line(world_line(session.world))
    return _Job(request, session, output, listen, hand_over).run()


class _Job:
    """One job of a pipeline."""

    def __init__(
        self,
        request: Request,
        session: Session,
        output: Output,
        listen: Callable[[], Callable[[], bool]],
        hand_over: Callable[[], bool] | None,
    ) -> None:
        self.request = request
        self.session = session
        self.output = output
        self.listen = listen
        self.hand_over = hand_over or (lambda: serving(session.settings.journal) is not None)
        self.controller = Controller(session)
        self.incident_id = ""

    def run(self) -> int:
        """Records, decides, acts; the document is told in any case."""
        if self.request.dry_run:
            return self._dry_run()
        try:
            return self._run()
        except RollbackError as error:
            self._tell(error.exit_code, verdict_of(error.exit_code), error.message, error.next, self._standing())
            raise

    def _run(self) -> int:
        self._record()
        settle(self.session, self.controller, lambda: bootstrap.prover(self.session), self.output.line)
        incident = self.controller.reload()
        if incident is None:
            return self._nothing_open()
        self.incident_id = incident.incident_id
        if changes_code(incident, self.request.deploy.commit):
            self.controller.handle(e.CodeChanged(self.request.deploy.commit), reason=self.request.reason)
        if not self._is_its_fix(incident):
            return self._only_recorded(incident)
        self._check_not_failed(self.controller.require())
        return self._bring_back()

    # -- the deploy -------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        """The deploy is a fact, whether or not there is a case. Raises `HistoryUnwritable`."""
        deploy = self.request.deploy
        self.controller.fact("deploy_recorded", reason=self.request.reason, data=deploy.data(), strict=True)
        self.session.history.feed()
        self.output.line(f"The deploy of {deploy.commit} is recorded.")

    def _counts(self, incident: Incident) -> Counts:
        _, policy = bootstrap.policies(self.session, incident.severity)
        return counts(self.request.deploy, incident.fix, policy.deploys)

    def _is_its_fix(self, incident: Incident) -> bool:
        """Whether the deploy is the case's fix; the policy may make it that."""
        deploy = self.request.deploy
        match self._counts(incident):
            case Counts.LINKED:
                return True
            case Counts.BY_POLICY:
                self._check_not_failed(incident)  # before it counts as one more attempt
                event = e.FixDeployed(deploy.commit, by=deploy.by or self.session.actor.name)
                self.controller.handle(event, reason=self.request.reason, strict=True)
                self.output.line(f"The policy lets every deploy of {deploy.workflow.partition('@')[0]} count as a fix.")
                return True
            case Counts.CLAIMED:
                raise PolicyRefused(
                    "The policy lets every deploy of this workflow count, and nobody has signed that it is this one.",
                    next="Use a server and the pipeline's own token (docs/ci/ci.md), or link the commit: "
                    f"rollback fix {self.session.feature} {deploy.commit}",
                )
            case _:
                return False

    def _only_recorded(self, incident: Incident) -> int:
        commit, feature = self.request.deploy.commit, self.session.feature
        fix = f"its fix is {incident.fix}" if incident.fix else "no fix is linked to it"
        said = f"Recorded, and nothing done: {commit} is not the fix of case {incident.incident_id} ({fix})."
        if incident.state in (State.VERIFYING, State.RAMPING):
            self.output.warn(
                f"{feature} is on its way back ({incident.state}), and what is deployed has just changed under it."
            )
        hint = f"If it is the fix, a responder links it, and this job is run again: rollback fix {feature} {commit}"
        return self._ended(0, Verdict.RECORDED, said, hint, self._standing())

    def _check_not_failed(self, incident: Incident) -> None:
        """A fix that was tried and failed is not tried again by a machine."""
        commit = self.request.deploy.commit
        entries = self.session.history.entries(self.session.feature).entries
        failed = failure(entries, incident.incident_id, commit)
        if failed is None:
            return
        raise PolicyRefused(
            f"{commit} was tried in this case and failed at {when(failed.at)}: {failed.why}",
            next=f"Deploy another fix. A person who knows better begins it: rollback enable {self.session.feature} "
            f"--reason R --fix {incident.fix if same_commit(incident.fix, commit) else commit}",
        )

    # -- the return -------------------------------------------------------------------------------------------------

    def _bring_back(self) -> int:
        asked = returning.Request(
            self.session.feature,
            self.request.reason,
            until_full=self.request.until_full,
            actor=self.session.actor,
            plain=True,
            pipeline=True,
        )
        progress = ReturnProgress(self.output, plain=True)
        made = PipelineRun(asked, self.output, progress, self.session, self.controller, self.listen(), self.hand_over)
        made.is_alone = self._is_alone()
        exit_code = made.go()
        outcome = made.outcome
        assert outcome is not None
        verdict = Verdict.UNWATCHED if made.stopped_alone else verdict_of(exit_code)
        told = made.document(outcome)
        return self._ended(exit_code, verdict, outcome.message, outcome.next, told)

    def _is_alone(self) -> bool:
        """Whether the return has to end before the first step, and says so before the first user is let in."""
        incident, request = self.controller.require(), self.request
        if incident.severity is Severity.LOW or incident.state is State.MONITORING:
            return False  # nothing is raised
        if request.second_watcher or serving(self.session.settings.journal) is not None:
            return False
        if request.unwatched:
            self.controller.fact(
                "unwatched_accepted", reason=request.unwatched, data={"why": request.unwatched}, strict=True
            )
            self.output.line(
                "No server watches beside this job. If it is killed, what it has exposed stays until the next command. "
                f"It goes on all the same: {request.unwatched}"
            )
            return False
        self.output.line(
            "No server watches beside this job: if it were killed, what it has exposed would stay. So it collects "
            "evidence and ends before the first step (exit 4). Run it beside `rollback serve`, or say --unwatched R."
        )
        return True

    def _nothing_open(self) -> int:
        """No case here: nothing to do, unless another machine left one on the flag."""
        flag = view(self.session)
        if flag.marks:
            raise PolicyRefused(
                f"The flag carries case {flag.marks[0].incident} of another machine (by {flag.marks[0].actor or '?'}).",
                next=f"Take it over first: rollback adopt {self.session.feature}; or use that machine's server.",
            )
        session = self.session
        told = status.document(session.reference, session.world, None, flag.now, None)
        said = "Nothing to do: there is no open case, and nothing of ours is on the flag."
        return self._ended(0, Verdict.NOTHING_TO_DO, said, "", told)

    def _dry_run(self) -> int:
        """What would be done; the flag and the record stay as they are."""
        incident = self.controller.incident
        if incident is None:
            return self._nothing_open()
        self.incident_id = incident.incident_id
        found = self._counts(incident)
        if found in (Counts.LINKED, Counts.BY_POLICY):
            self._check_not_failed(incident)
            self.output.line(f"This deploy counts as the fix of case {incident.incident_id} ({found}).")
            return_plan.show(self.session, incident, self.output)
            return 0
        fix = incident.fix or "none is linked"
        said = f"Would record the deploy, and do nothing: it is not the fix of case {incident.incident_id} ({fix})."
        return self._ended(0, Verdict.RECORDED, said, "Nothing was written (--dry-run).", self._standing())

    # -- the end ----------------------------------------------------------------------------------------------------

    def _standing(self) -> Mapping[str, Any]:
        """Where the case stands, without asking the flag: it may be what does not answer."""
        session, incident = self.session, self.controller.incident
        return status.document(session.reference, session.world, incident, None, None)

    def _ended(self, code: int, verdict: Verdict, said: str, hint: str, told: Mapping[str, Any]) -> int:
        self.session.history.feed()
        self.output.line(said, fg="green" if code == 0 else "red", bold=True)
        if hint:
            self.output.line(f"Next: {hint}")
        self._tell(code, verdict, said, hint, told)
        return code

    def _tell(self, code: int, verdict: Verdict, said: str, hint: str, told: Mapping[str, Any]) -> None:
        self.output.document(
            {
                **told,
                "incident": told.get("incident") or self.incident_id or None,
                "deploy": self.request.deploy.data(),
                "unwatched": self.request.unwatched or None,
                "evidence": evidence_rows(self.session, self.incident_id, self.request.deploy.commit),
                "timeline": timeline_rows(self.session, self.incident_id),
                "outcome": "nothing to do" if verdict is Verdict.NOTHING_TO_DO else said,
                "verdict": verdict.value,
                "next": hint,
                "dry_run": self.request.dry_run,
                "exit": code,
            }
        )
