"""Automation held back for a time: `hold` for a feature, `source mute` for a sender; and `source list`."""

from __future__ import annotations

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option, reason_option

_UNTIL = "2h, 30m, 18:30 (the next one here), or a time with its offset; at most 24 hours ahead."


@click.command(
    epilog="""\b
Examples:
  rollback hold sm --until 2h --reason "load test"
  rollback hold sm --until 18:30
  rollback hold sm --release
"""
)
@click.argument("feature")
@click.option("--until", metavar="TIME", help=f"Until when: {_UNTIL}")
@click.option("--release", "is_release", is_flag=True, help="End the hold now.")
@reason_option(required=False)
@actor_option
@dry_run_option
@json_option
def hold(
    feature: str, until: str | None, is_release: bool, reason: str, actor: str | None, dry_run: bool, as_json: bool
) -> int:
    """Hold automation back for FEATURE until a time: its alerts are recorded and told, and turn nothing off.

    Alerts that come in meanwhile are decided on when the hold is over. A person's `disable` is never held.
    """
    if (until is None) == (not is_release):
        raise click.UsageError("Give either --until TIME or --release.")
    if has_server():
        return _on_server(feature, until, reason, actor, dry_run, as_json)
    from rollback.cli.screen import Screen
    from rollback.commands import holding

    screen = Screen(as_json=as_json)
    if until is None:
        return holding.release(feature, reason, actor, dry_run, screen)
    return holding.hold(feature, until, reason, actor, dry_run, screen)


def _on_server(feature: str, until: str | None, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    from rollback.cli import remote
    from rollback.clock import SystemClock
    from rollback.commands.holding import EVERYTHING, parse_until
    from rollback.errors import ConfigurationError

    if until is not None and not reason:
        raise ConfigurationError("A hold on the server needs a reason.", next="Say why with --reason.")
    ends = None if until is None else parse_until(until, SystemClock().now()).isoformat()
    return remote.change(
        "hold",
        feature,
        actor=actor,
        dry_run=dry_run,
        as_json=as_json,
        until=ends,
        what=EVERYTHING,
        reason=reason or "released",
    )


@click.group(
    epilog="""\b
Examples:
  rollback source list --json
  rollback source mute pagerduty --until 1h --reason "a rehearsal"
  rollback source unmute pagerduty
"""
)
def source() -> None:
    """Who sends alerts: list them, mute one for a time. On the server's machine, where the record is."""


@source.command(
    epilog="""\b
Example:
  rollback source mute pagerduty --until 1h --reason "a rehearsal"
"""
)
@click.argument("name")
@click.option("--until", metavar="TIME", required=True, help=f"Until when: {_UNTIL}")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def mute(name: str, until: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Do not act on what the source NAME says until a time; it is recorded and told."""
    from rollback.cli.screen import Screen
    from rollback.commands import holding

    return holding.mute(name, until, reason, actor, dry_run, Screen(as_json=as_json))


@source.command(
    epilog="""\b
Example:
  rollback source unmute pagerduty
"""
)
@click.argument("name")
@reason_option(required=False)
@actor_option
@dry_run_option
@json_option
def unmute(name: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Act on what the source NAME says again."""
    from rollback.cli.screen import Screen
    from rollback.commands import holding

    return holding.unmute(name, reason, actor, dry_run, Screen(as_json=as_json))


@source.command(
    "list",
    epilog="""\b
Example:
  rollback source list
""",
)
@json_option
def list_sources(as_json: bool) -> int:
    """Each source: its kind, how it proves itself, open or closed and why, muted until when, when it was heard last."""
    from rollback.cli.screen import Screen
    from rollback.commands.sources import list_sources as run

    return run(Screen(as_json=as_json))
