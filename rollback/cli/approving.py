"""The command by which people permit a return: approve."""

from __future__ import annotations

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option, reason_option


@click.command(
    epilog="""\b
Examples:
  rollback approve sm --reason "looked at the fix and at the flag"
  rollback approve sm --withdraw --reason "the fix is not what I thought"
  rollback approve sm --step --reason "support has heard nothing"
  rollback approve sm --switch maintenance-window --reason "ended in PagerDuty"
"""
)
@click.argument("feature")
@click.option("--withdraw", is_flag=True, help="Take your approval back: no further step up is taken on it.")
@click.option("--step", is_flag=True, help="The step that is exposed is well; the ladder may go on with evidence.")
@click.option("--switch", metavar="NAME", help="A switch beside the flag is lifted, and cannot be read by itself.")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def approve(
    feature: str,
    withdraw: bool,
    step: bool,
    switch: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Permit that FEATURE comes back: this fix, on the flag as it is now. It replaces no evidence.

    Needs an authenticated person whom the policy names, and not the one who turned it off, deployed the fix or brings
    it back. Turning off never needs it.
    """
    if has_server():
        from rollback.cli import remote

        return remote.change(
            "approve",
            feature,
            actor=actor,
            dry_run=dry_run,
            as_json=as_json,
            reason=reason,
            withdraw=withdraw,
            step=step,
            switch=switch,
        )
    from rollback.cli.screen import Screen
    from rollback.commands.approving import Request, run

    request = Request(feature, reason, withdraw, step, switch, actor, dry_run)
    return run(request, Screen(as_json=as_json))
