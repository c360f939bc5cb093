"""`rollback inbox`: what came in, what became of it, and what waits."""

from __future__ import annotations

import click

from rollback.cli.options import json_option


@click.group(
    epilog="""\b
Examples:
  rollback inbox list --limit 50 --json
  rollback inbox show 17
  rollback inbox counts
"""
)
def inbox() -> None:
    """What senders delivered, and what became of it. On the server's machine, where ROLLBACK_STATE is."""


@inbox.command(
    "list",
    epilog="""\b
Examples:
  rollback inbox list
  rollback inbox list --limit 200 --json
""",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@json_option
def list_deliveries(limit: int, as_json: bool) -> int:
    """The newest deliveries: kind, what they tell, their outcome; which of them wait or were set aside."""
    from rollback.cli.screen import Screen
    from rollback.commands.inbox import list_deliveries as run

    return run(limit, Screen(as_json=as_json))


@inbox.command(
    epilog="""\b
Example:
  rollback inbox show 17
"""
)
@click.argument("number", type=click.IntRange(1))
@json_option
def show(number: int, as_json: bool) -> int:
    """One delivery: its alerts, or the excerpt that was kept of what is none."""
    from rollback.cli.screen import Screen
    from rollback.commands.inbox import show_delivery as run

    return run(number, Screen(as_json=as_json))


@inbox.command(
    epilog="""\b
Example:
  rollback inbox counts
"""
)
@json_option
def counts(as_json: bool) -> int:
    """What was counted: repeated deliveries, and what was turned away, by source and reason."""
    from rollback.cli.screen import Screen
    from rollback.commands.inbox import show_counts as run

    return run(Screen(as_json=as_json))
