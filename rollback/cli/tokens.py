"""`rollback token`: who may use the server's interface. Works on the server's own database, on its machine."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from rollback.cli.options import dry_run_option, json_option

if TYPE_CHECKING:
    from rollback.alert_ports import Tokens
    from rollback.cli.screen import Screen
    from rollback.kill_settings import KillSettings

ROLES = ("viewer", "responder", "approver", "ci")
_NAME = re.compile(r"[A-Za-z0-9@._+-]{1,64}")


@click.group(
    epilog="""\b
Examples:
  rollback token issue on-call-phone --role responder --expires 90d
  rollback token list --json
  rollback token revoke on-call-phone
"""
)
def token() -> None:
    """Tokens of the server's interface: issue, revoke, list. On the server's machine, where ROLLBACK_STATE is."""


@token.command(
    epilog="""\b
Examples:
  rollback token issue deploy-pipeline --role ci
  rollback token issue on-call-phone --role responder --expires 90d
"""
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="viewer reads; responder also turns off and works on cases; approver also decides; ci fixes and enables.",
)
@click.option("--expires", metavar="DURATION", help="How long it is good, e.g. 90d. Default: until it is revoked.")
@dry_run_option
@json_option
def issue(name: str, role: str, expires: str | None, dry_run: bool, as_json: bool) -> int:
    """Make a token for NAME, a person or a program, and print its secret: the only time that it can be seen."""
    from rollback.clock import SystemClock
    from rollback.errors import ConfigurationError

    screen, settings, tokens = _opened(as_json)
    try:
        now = SystemClock().now()
        ends = now + _duration(expires) if expires else None
        told: dict[str, object] = {"name": name, "role": role, "expires_at": ends}
        if dry_run:
            if _NAME.fullmatch(name) is None:
                raise ConfigurationError(
                    "A token's name has 1 to 64 letters, digits or @ . _ + -.",
                    next="Choose one such as deploy-pipeline.",
                )
            if any(holder.name == name and not _is_over(holder.expires_at, now) for holder, *_ in tokens.all()):
                raise ConfigurationError(f"There is a token {name} already.", next=f"rollback token revoke {name}")
            return _would(screen, f"issue a token for {name}, {role}", told)
        secret = tokens.issue(name, role, ends, now)
    finally:
        _close(tokens)
    _record(screen, settings, "token_issued", {**told, "expires_at": ends.isoformat() if ends else None})
    screen.line(secret, bold=True)
    screen.line(
        f"Token of {name}, {role}, {_until(ends)}. It is shown this once; keep it in a file that only you read."
    )
    screen.line(
        "Use it: ROLLBACK_SERVER=https://…, ROLLBACK_TOKEN_FILE=that file; or: curl -H 'Authorization: Bearer …'"
    )
    if as_json:
        screen.document({**told, "secret": secret, "exit": 0})
    return 0


@token.command(
    epilog="""\b
Example:
  rollback token revoke on-call-phone
"""
)
@click.argument("name")
@dry_run_option
@json_option
def revoke(name: str, dry_run: bool, as_json: bool) -> int:
    """End the token of NAME for good, at once."""
    from rollback.clock import SystemClock
    from rollback.errors import ConfigurationError

    screen, settings, tokens = _opened(as_json)
    try:
        if not any(holder.name == name for holder, *_ in tokens.all()):
            raise ConfigurationError(
                f"There is no token {name[:64]!r}.", next="See which there are: rollback token list"
            )
        if dry_run:
            return _would(screen, f"revoke the token of {name}", {"name": name})
        is_ended = tokens.revoke(name, SystemClock().now())
    finally:
        _close(tokens)
    if is_ended:
        _record(screen, settings, "token_revoked", {"name": name})
    screen.line(f"The token of {name} is revoked.", fg="green")
    if as_json:
        screen.document({"name": name, "revoked": True, "exit": 0})
    return 0


@token.command(
    "list",
    epilog="""\b
Example:
  rollback token list
""",
)
@json_option
def list_tokens(as_json: bool) -> int:
    """Which tokens there are, with role, end and last use. Never a secret."""
    from rollback.clock import SystemClock

    screen, _, tokens = _opened(as_json)
    try:
        found = tokens.all()
    finally:
        _close(tokens)
    now = SystemClock().now()
    if as_json:
        told = [
            {
                "name": holder.name,
                "role": holder.role,
                "issued_at": issued,
                "expires_at": holder.expires_at,
                "is_expired": _is_over(holder.expires_at, now),
                "last_used_at": used,
            }
            for holder, issued, used in found
        ]
        screen.document({"tokens": told, "exit": 0})
        return 0
    if not found:
        screen.line("There are no tokens. Make one: rollback token issue NAME --role responder")
        return 0
    from rich.table import Table

    from rollback.commands.tables import rendered
    from rollback.words import when

    table = Table("name", "role", "issued", "until", "last used", box=None, pad_edge=False)
    for holder, issued, used in found:
        ends = "EXPIRED" if _is_over(holder.expires_at, now) else _until(holder.expires_at)
        table.add_row(holder.name, holder.role, when(issued), ends, when(used) if used else "never")
    screen.raw(rendered(table, screen.columns))
    return 0


def _opened(as_json: bool) -> tuple[Screen, KillSettings, Tokens]:
    from rollback.automation_bootstrap import tokens
    from rollback.cli.screen import Screen
    from rollback.kill_settings import read_settings

    settings = read_settings(os.environ, forgiving=True)
    return Screen(as_json=as_json), settings, tokens(settings)


def _close(tokens: Tokens) -> None:
    close = getattr(tokens, "close", None)  # the port has none: those in memory have nothing to close
    if close is not None:
        close()


def _record(screen: Screen, settings: KillSettings, name: str, data: dict[str, object]) -> None:
    from rollback.clock import SystemClock
    from rollback.identity import actor
    from rollback.server.record import ServerRecord

    ServerRecord(SystemClock(), screen.warn).fact(name, actor(settings.actor), data)


def _would(screen: Screen, what: str, told: dict[str, object]) -> int:
    screen.line(f"Would: {what}. Nothing was written (--dry-run).")
    if screen.as_json:
        screen.document({"dry_run": True, "would": what, **told, "exit": 0})
    return 0


def _duration(text: str) -> timedelta:
    from rollback.core.scalars import parse_duration
    from rollback.errors import ConfigurationError

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--expires {text[:20]}: {error}", next="Write 90d or 12h.") from error


def _is_over(ends: datetime | None, now: datetime) -> bool:
    return ends is not None and ends <= now


def _until(ends: datetime | None) -> str:
    from rollback.words import when

    return f"good until {when(ends)}" if ends else "good until it is revoked"
