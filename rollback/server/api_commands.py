"""The commands that change something, as the interface offers them: one row each, by the command line's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rollback.commands import approving, cases, disabling, returning
from rollback.output import Output
from rollback.redaction import redact
from rollback.server import api_models as models

if TYPE_CHECKING:
    from rollback.core.history import Actor
    from rollback.server.api_services import Holds

Run = Callable[[str, Any, "Actor", Output], int]
Return = Callable[[str, Any, "Actor"], returning.Request]
Permissions = Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `permissions` are those that a body needs, by `auth.PERMISSIONS`.

    `run` carries it out, or, for one that takes long and has to be watched, `to_return` says what return it is.
    `needs_body` is False where a call without a body is complete.
    """

    name: str
    summary: str
    body: type[models.Body]
    run: Run | None = None
    to_return: Return | None = None
    permissions: Permissions | None = None
    needs_body: bool = True

    def needed(self, body: models.Body) -> tuple[str, ...]:
        """The permissions that this very call needs; all of them."""
        return self.permissions(body) if self.permissions else (self.name,)


def disable(feature: str | None, flag: str | None, body: models.DisableBody, actor: Actor, output: Output) -> int:
    """Off for every user."""
    reason = redact(body.reason) if body.reason else ""
    request = disabling.Request(feature, flag, reason, body.no_wait, body.timeout, actor, body.dry_run)
    return disabling.run(request, output)


def commands(holds: Holds) -> Mapping[str, Command]:
    """All rows by name, in the order in which the documentation has them."""
    rows = (
        Command(
            "enable",
            "Bring it back through gate and ladder, watched to the end",
            models.EnableBody,
            to_return=_enable,
            permissions=_enabling,
        ),
        Command("open", "Open a case of low or high severity", models.OpenBody, _open),
        Command("raise", "Raise the severity of the open case, and act on it", models.RaiseBody, _raise),
        Command("fix", "Record that a fix was deployed", models.FixBody, _fix),
        Command("note", "Keep a fact for the record", models.NoteBody, _note),
        Command("keep-off", "Keep it off until it is released", models.WithReason, _keep_off),
        Command("release", "Lift that, and accept the flag as others edited it", models.WithReason, _release),
        Command("hold", "Hold automation back for a time", models.HoldBody, _hold(holds)),
        Command("adopt", "Take over a case of another machine", models.AdoptBody, _adopt, needs_body=False),
        Command("approve", "Permit a return; it replaces no evidence", models.ApproveBody, _approve),
        Command("undo", "Take a wrong disable back, watched", models.WithReason, to_return=_undo),
        Command("false-alarm", "Close a case that was none, watched", models.WithReason, to_return=_false_alarm),
        Command("close", "Check, monitor and close a low case", models.WithReason, to_return=_close),
    )
    return {row.name: row for row in rows}


def _case(feature: str, body: Any, actor: Actor, output: Output, reason: str | None = None) -> cases.Command:
    return cases.Command(feature, body.reason if reason is None else reason, actor, body.dry_run, output)


def _open(feature: str, body: models.OpenBody, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).open(body.severity, sensitive=body.sensitive)


def _raise(feature: str, body: models.RaiseBody, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).raise_to(body.severity)


def _fix(feature: str, body: models.FixBody, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).fix(body.commit)


def _note(feature: str, body: models.NoteBody, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output, reason="").note(body.text)


def _keep_off(feature: str, body: models.WithReason, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).keep_off()


def _release(feature: str, body: models.WithReason, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).release()


def _adopt(feature: str, body: models.AdoptBody, actor: Actor, output: Output) -> int:
    return _case(feature, body, actor, output).adopt()


def _approve(feature: str, body: models.ApproveBody, actor: Actor, output: Output) -> int:
    asked = approving.Request(feature, redact(body.reason), body.withdraw, body.step, body.switch, actor, body.dry_run)
    return approving.run(asked, output)


def _hold(holds: Holds) -> Run:
    def hold(feature: str, body: models.HoldBody, actor: Actor, output: Output) -> int:
        from rollback.server.api_features import key_of

        key, what = key_of(feature), redact(body.what, max_length=80)
        until = body.until.isoformat() if body.until else None
        said = f"Automation is held back for {key} ({what}) until {until}."
        if until is None:
            said = f"Automation may act on {key} again."
        if body.dry_run:
            output.line(f"Would: {said} Nothing was written (--dry-run).")
        else:
            holds.hold(key, body.until, what, actor, redact(body.reason))
            output.line(said, fg="green")
        if output.as_json:
            told = {"feature": key, "until": until, "what": what, "said": said, "exit": 0}
            output.document({"dry_run": True, **told} if body.dry_run else told)
        return 0

    return hold


def _enable(feature: str, body: models.EnableBody, actor: Actor) -> returning.Request:
    if body.pipeline:  # whoever's token it uses
        actor = replace(actor, authenticated="ci")
    return returning.Request(
        feature,
        body.reason,
        fix=body.fix,
        until_full=body.until == "full",
        force=body.force,
        force_for=body.force_for,
        accept_blind=body.accept_blind,
        actor=actor,
        dry_run=body.dry_run,
        plain=body.pipeline,
        pipeline=body.pipeline,
    )


def _enabling(body: models.EnableBody) -> tuple[str, ...]:
    needed = ["enable --fix" if body.fix is not None else "enable"]
    if body.force:
        needed.append("enable --force")
    if body.accept_blind:
        needed.append("enable --accept-blind")
    return tuple(needed)


def _undo(feature: str, body: models.WithReason, actor: Actor) -> returning.Request:
    return returning.Request(feature, body.reason, actor=actor, dry_run=body.dry_run, undo=True)


def _false_alarm(feature: str, body: models.WithReason, actor: Actor) -> returning.Request:
    return returning.Request(feature, body.reason, actor=actor, dry_run=body.dry_run, false_alarm=True)


def _close(feature: str, body: models.WithReason, actor: Actor) -> returning.Request:
    return returning.Request(feature, body.reason, actor=actor, dry_run=body.dry_run, low_only=True)
