"""The commands of the way back: enable, undo, false-alarm, close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option, reason_option

if TYPE_CHECKING:
    from rollback.commands.returning import Request


@click.command(
    epilog="""\b
Examples:
  rollback enable sm --reason "fix deployed" --fix 3f2c1ab
  rollback enable sm --reason "fix deployed" --until full
  rollback enable sm --reason "monitor is wrong, PO decided" --force --for 2h
"""
)
@click.argument("feature")
@reason_option(required=True)
@click.option("--fix", metavar="COMMIT", help="The deployed fix; evidence belongs to it.")
@click.option(
    "--until",
    type=click.Choice(["resolved", "full"]),
    default="resolved",
    show_default=True,
    help="Return when monitoring has ended, or at 100 % (then somebody else has to watch).",
)
@click.option("--force", is_flag=True, help="Skip the gate, never the monitor. Expires, and leaves a review item.")
@click.option("--for", "force_for", metavar="DURATION", help="How long a forced return lasts (policy: 1h, at most 8h).")
@click.option("--accept-blind", is_flag=True, help="A person decides although the gate could not see this fault.")
@actor_option
@dry_run_option
@json_option
def enable(
    feature: str,
    reason: str,
    fix: str | None,
    until: str,
    force: bool,
    force_for: str | None,
    accept_blind: bool,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Bring FEATURE back through gate and ladder, and watch it to the end of monitoring.

    Exit 0: back (or nothing to do). Exit 3: the case forbids it. Exit 4: not healthy, not enough evidence, or somebody
    disabled it meanwhile. Exit 130: interrupted; what was raised is down again.
    """
    if has_server():
        from rollback.cli import remote

        return remote.change(
            "enable",
            feature,
            actor=actor,
            dry_run=dry_run,
            as_json=as_json,
            reason=reason,
            fix=fix,
            until=until,
            force=force,
            force_for=force_for,
            accept_blind=accept_blind,
        )
    from rollback.commands.returning import Request

    return _run(
        as_json,
        Request(
            feature,
            reason,
            fix=fix,
            until_full=until == "full",
            force=force,
            force_for=force_for,
            accept_blind=accept_blind,
            actor=actor,
            dry_run=dry_run,
        ),
    )


@click.command(
    epilog="""\b
Example:
  rollback false-alarm sm --reason "the monitor read the wrong service"
"""
)
@click.argument("feature")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def false_alarm(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Close a case that was none: the gate, then back to where FEATURE was in one watched step.

    Needs an authenticated person (your own account), and a gate that is not blind.
    """
    if has_server():
        from rollback.cli import remote

        return remote.change("false-alarm", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.commands.returning import Request

    return _run(as_json, Request(feature, reason, actor=actor, dry_run=dry_run, false_alarm=True))


@click.command(
    epilog="""\b
Example:
  rollback undo sm --reason "wrong feature"
"""
)
@click.argument("feature")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def undo(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Take a wrong disable back: within 10 minutes, by the same person, then watched like any return."""
    if has_server():
        from rollback.cli import remote

        return remote.change("undo", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.commands.returning import Request

    return _run(as_json, Request(feature, reason, actor=actor, dry_run=dry_run, undo=True))


@click.command(
    epilog="""\b
Example:
  rollback close sm --reason "fixed and deployed"
"""
)
@click.argument("feature")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def close(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Check a low-severity case while FEATURE stays on, monitor it, and close it. The flag is never touched."""
    if has_server():
        from rollback.cli import remote

        return remote.change("close", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.commands.returning import Request

    return _run(as_json, Request(feature, reason, actor=actor, dry_run=dry_run, low_only=True))


def _run(as_json: bool, request: Request) -> int:
    from rollback.cli.screen import Screen
    from rollback.cli.signals import listen
    from rollback.commands.returning import run

    return run(request, Screen(as_json=as_json), listen)
