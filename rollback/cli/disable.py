"""`rollback disable`: off for every user, then the proof. Kill path: what the write does not need comes later."""

from __future__ import annotations

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option, reason_option


@click.command(
    epilog="""\b
Examples:
  rollback disable sm
  rollback disable sm --reason "non-200s above 30 %" --no-wait
  rollback disable --flag default/mhv/secure-messaging
"""
)
@click.argument("feature", required=False)
@click.option("--flag", metavar="ENV/NAMESPACE/KEY", help="Turn off this very flag; needs no policy at all.")
@reason_option(required=False)
@click.option("--no-wait", is_flag=True, help="Return after the first look, with exit 5 and what is pending.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try when the flag store does not answer.",
)
@actor_option
@dry_run_option
@json_option
def disable(
    feature: str | None,
    flag: str | None,
    reason: str,
    no_wait: bool,
    timeout: float,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Turn FEATURE off for every user at once, and prove it.

    Nothing delays this: no approval, no budget, no probe, no other case, no broken ledger. Exit 0: proven. Exit 5: done
    but not proven, or sent and not settled. Exit 6: the flag store is out of reach or refused; nothing changed.
    """

    def here() -> int:
        from rollback.cli.screen import Screen
        from rollback.commands.disabling import Request, run

        why = reason
        if why:
            from rollback.redaction import redact

            why = redact(why)
        return run(Request(feature, flag, why, no_wait, timeout, actor, dry_run), Screen(as_json=as_json))

    if not has_server():
        return here()
    from rollback.cli import remote

    return remote.disable(
        feature,
        flag,
        reason=reason,
        no_wait=no_wait,
        timeout=timeout,
        actor=actor,
        dry_run=dry_run,
        as_json=as_json,
        here=here,
    )
