"""The commands that ask without acting: check and doctor."""

from __future__ import annotations

import click

from rollback.cli.options import json_option


@click.command(
    epilog="""\b
Examples:
  rollback check sm
  rollback check sm --for 60 --json
"""
)
@click.argument("feature")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0.0),
    default=None,
    metavar="SECONDS",
    help="How long to look at most. Default: until the gate's own deadline.",
)
@json_option
def check(feature: str, seconds: float | None, as_json: bool) -> int:
    """The gate's evidence for FEATURE now, acting on nothing and keeping nothing.

    Exit 0: healthy. Exit 4: unhealthy, not enough evidence, or no data.
    """
    from rollback.cli.screen import Screen
    from rollback.commands.looking import check as run

    return run(feature, seconds, Screen(as_json=as_json))


@click.command(
    epilog="""\b
Examples:
  rollback doctor
  rollback doctor sm --json
"""
)
@click.argument("feature", required=False)
@json_option
def doctor(feature: str | None, as_json: bool) -> int:
    """Check each connection before it is needed: settings, policies, flag store, readers, probes, journal, ledger.

    Writes nothing to any flag. Exit 0: all well; else the exit code of the first thing that is not.
    """
    from rollback.cli.screen import Screen
    from rollback.commands.looking import doctor as run

    return run(feature, Screen(as_json=as_json))
