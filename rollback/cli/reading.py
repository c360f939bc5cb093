"""The commands that only read: status, history, verify, runbook. They write nothing to the flag."""

from __future__ import annotations

import click

from rollback.cli.options import has_server, json_option


@click.command(
    epilog="""\b
Examples:
  rollback status
  rollback status sm
  rollback status sm --json
"""
)
@click.argument("feature", required=False)
@click.option("--flag", metavar="ENV/NAMESPACE/KEY", help="This very flag, without any policy.")
@json_option
def status(feature: str | None, flag: str | None, as_json: bool) -> int:
    """Where FEATURE stands, read from the flag itself; without FEATURE, where all of them stand.

    Exit 0 also when the ledger is broken; exit 2 when the flag does not exist (its exposure is unknown, never off);
    exit 6 when the flag store does not answer.
    """

    def here() -> int:
        from rollback.cli.screen import Screen
        from rollback.commands.standing import show_all, show_one

        if feature is None and flag is None:
            return show_all(Screen(as_json=as_json))
        return show_one(feature, flag, Screen(as_json=as_json))

    if not has_server():
        return here()
    from rollback.cli import remote

    return remote.status(feature, flag, as_json=as_json, here=here)


@click.command(
    epilog="""\b
Examples:
  rollback history sm
  rollback history sm --format markdown > timeline.md
"""
)
@click.argument("feature", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="How to write it.",
)
@click.option("--incident", metavar="ID", help="Only this case.")
@json_option
def history(feature: str | None, form: str, incident: str | None, as_json: bool) -> int:
    """The record of FEATURE, or of everything: every intent, transition and outcome, in order."""
    if has_server():
        from rollback.cli import remote

        return remote.history(feature, "json" if as_json else form, incident, as_json=as_json)
    from rollback.cli.screen import Screen
    from rollback.commands.record import show_history

    return show_history(feature, "json" if as_json else form, incident, Screen(as_json=as_json or form == "json"))


@click.command(
    epilog="""\b
Examples:
  rollback verify
  rollback verify --flags
"""
)
@click.option("--flags", is_flag=True, help="Also compare with the heads that our markers on the flags carry.")
@json_option
def verify(flags: bool, as_json: bool) -> int:
    """Is the ledger whole? Says what was edited, dropped or reordered, and up to where it is anchored.

    Exit 0: it verifies. Exit 7: it does not.
    """
    if has_server():
        from rollback.cli import remote

        return remote.verify(flags, as_json=as_json)
    from rollback.cli.screen import Screen
    from rollback.commands.record import show_verification

    return show_verification(flags, Screen(as_json=as_json))


@click.command(
    epilog="""\b
Example:
  rollback runbook sm > sm-runbook.md
"""
)
@click.argument("feature")
@json_option
def runbook(feature: str, as_json: bool) -> int:
    """The manual steps for FEATURE, with its own names: for the day when this program cannot be used."""
    from rollback.cli.screen import Screen
    from rollback.commands.record import show_runbook

    return show_runbook(feature, Screen(as_json=as_json))
