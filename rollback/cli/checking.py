"""The commands that ask without acting: check and doctor."""

from __future__ import annotations

import click

from rollback.cli.options import has_server, json_option


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
    if has_server():
        from rollback.cli import remote

        return remote.check(feature, seconds, as_json=as_json)
    from rollback.cli.screen import Screen
    from rollback.commands.looking import check as run

    return run(feature, seconds, Screen(as_json=as_json))


@click.command(
    epilog="""\b
Examples:
  rollback doctor
  rollback doctor sm --json
  rollback doctor --send-test-events --server http://127.0.0.1:8080
"""
)
@click.argument("feature", required=False)
@click.option(
    "--send-test-events",
    is_flag=True,
    help="Send each source's test event through a running `rollback serve`, and see that it is recorded.",
)
@click.option(
    "--server", metavar="URL", help="Where that server is. Default: ROLLBACK_SERVER, else http://127.0.0.1:8080."
)
@json_option
def doctor(feature: str | None, send_test_events: bool, server: str | None, as_json: bool) -> int:
    """Check each connection before it is needed: settings, policies, flag store, readers, probes, journal, ledger.

    With automation.yaml also: secrets, ways to people, the state database, and whether each feature is armed. Writes
    nothing to any flag. Exit 0: all well; else the exit code of the first thing that is not.
    """
    if server is not None and not send_test_events:
        raise click.UsageError("--server is for --send-test-events.")
    from rollback.cli.screen import Screen
    from rollback.commands.looking import doctor as run

    return run(feature, Screen(as_json=as_json), send_test_events=send_test_events, server=server)
