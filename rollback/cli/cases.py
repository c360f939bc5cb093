"""Cases other than a critical one, and facts for the record: open, raise, fix, note, adopt, keep-off, release."""

from __future__ import annotations

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option, reason_option


@click.command(
    "open",
    epilog="""\b
Examples:
  rollback open sm --severity low --reason "typo in a subject line"
  rollback open sm --severity high --reason "5 % of sends fail"
""",
)
@click.argument("feature")
@click.option("--severity", type=click.Choice(["low", "high"]), required=True, help="critical: use `rollback disable`.")
@click.option("--sensitive", is_flag=True, help="A security or privacy case: only a person brings the feature back.")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def open_case(
    feature: str, severity: str, sensitive: bool, reason: str, actor: str | None, dry_run: bool, as_json: bool
) -> int:
    """Open a case of low or high severity for FEATURE.

    low: stays on, nothing touches the flag. high: stays on, reduced as the policy says.
    """
    if has_server():
        from rollback.cli import remote

        return remote.change(
            "open",
            feature,
            actor=actor,
            dry_run=dry_run,
            as_json=as_json,
            severity=severity,
            sensitive=sensitive,
            reason=reason,
        )
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).open(severity, sensitive=sensitive)


@click.command(
    "raise",
    epilog="""\b
Example:
  rollback raise sm --severity high --reason "it spreads"
""",
)
@click.argument("feature")
@click.option("--severity", type=click.Choice(["low", "high", "critical"]), required=True, help="The new severity.")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def raise_severity(feature: str, severity: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Raise the severity of FEATURE's open case, and act on it. Only a person lowers one, and only while it is on."""
    if has_server():
        from rollback.cli import remote

        return remote.change(
            "raise", feature, actor=actor, dry_run=dry_run, as_json=as_json, severity=severity, reason=reason
        )
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).raise_to(severity)


@click.command(
    epilog="""\b
Example:
  rollback fix sm 3f2c1ab
"""
)
@click.argument("feature")
@click.argument("commit")
@reason_option(required=False)
@actor_option
@dry_run_option
@json_option
def fix(feature: str, commit: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Record that the fix COMMIT was deployed for FEATURE's open case. Evidence belongs to a fix."""
    if has_server():
        from rollback.cli import remote

        return remote.change(
            "fix", feature, actor=actor, dry_run=dry_run, as_json=as_json, commit=commit, reason=reason
        )
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).fix(commit)


@click.command(
    epilog="""\b
Example:
  rollback note sm "the downstream team is on the bridge"
"""
)
@click.argument("feature")
@click.argument("text")
@actor_option
@dry_run_option
@json_option
def note(feature: str, text: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Keep TEXT for the record of FEATURE. No private data: it is cut and redacted."""
    if has_server():
        from rollback.cli import remote

        return remote.change("note", feature, actor=actor, dry_run=dry_run, as_json=as_json, text=text)
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, "", actor, dry_run, Screen(as_json=as_json)).note(text)


@click.command(
    epilog="""\b
Example:
  rollback adopt sm --reason "laptop of the first responder is gone"
"""
)
@click.argument("feature")
@reason_option(required=False)
@actor_option
@dry_run_option
@json_option
def adopt(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Take over a case that another machine left on FEATURE's flag, known by its marker."""
    if has_server():
        from rollback.cli import remote

        return remote.change("adopt", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).adopt()


@click.command(
    "keep-off",
    epilog="""\b
Example:
  rollback keep-off sm --reason "until the audit is done"
""",
)
@click.argument("feature")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def keep_off(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Keep FEATURE off until somebody lifts it with `release`: no return may start."""
    if has_server():
        from rollback.cli import remote

        return remote.change("keep-off", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).keep_off()


@click.command(
    epilog="""\b
Example:
  rollback release sm --reason "the wider audience is intended"
"""
)
@click.argument("feature")
@reason_option(required=True)
@actor_option
@dry_run_option
@json_option
def release(feature: str, reason: str, actor: str | None, dry_run: bool, as_json: bool) -> int:
    """Lift `keep-off`, and accept the flag as others have edited it meanwhile (the difference is shown)."""
    if has_server():
        from rollback.cli import remote

        return remote.change("release", feature, actor=actor, dry_run=dry_run, as_json=as_json, reason=reason)
    from rollback.cli.screen import Screen
    from rollback.commands.cases import Command

    return Command(feature, reason, actor, dry_run, Screen(as_json=as_json)).release()
