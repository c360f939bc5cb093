"""`rollback policy`: policies as code."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from rollback.cli.options import json_option

BROKEN = 2


@click.group()
def policy() -> None:
    """Policies as code: check them, show them, print their schema and the diagram of states."""


@policy.command()
@click.argument("folder", required=False, type=click.Path())
@json_option
def lint(folder: str | None, as_json: bool) -> int:
    """Check the policies in FOLDER (ROLLBACK_POLICIES). Exit 2 when one has an error; warnings alone are exit 0."""
    from rollback import bootstrap
    from rollback.cli.screen import Screen
    from rollback.kill_settings import read_settings
    from rollback.policy_files import load_policies
    from rollback.policy_lint import lint as findings_of

    screen = Screen(as_json=as_json)
    where = folder or read_settings(os.environ, forgiving=True).policies
    findings = findings_of(load_policies(where, bootstrap.environment()))
    errors = sum(finding.level == "error" for finding in findings)
    for finding in findings:
        place = f"{finding.file}:{finding.line}"
        screen.line(f"{place}: {finding.level}: {finding.message}", fg="red" if finding.level == "error" else "yellow")
    screen.line(f"{where}: {errors} errors, {len(findings) - errors} warnings.", fg="red" if errors else "green")
    code = BROKEN if errors else 0
    if as_json:
        told = [{"file": str(f.file), "line": f.line, "level": f.level, "message": f.message} for f in findings]
        screen.document({"folder": where, "findings": told, "exit": code})
    return code


@policy.command()
@click.argument("feature")
@json_option
def show(feature: str, as_json: bool) -> int:
    """The policy of FEATURE and its severities with every default filled in, secrets left out; or a release plan."""
    from rollback import bootstrap
    from rollback.core.model import Severity
    from rollback.core.policy import plain
    from rollback.kill_settings import read_settings
    from rollback.policy_files import load_policies

    loaded = load_policies(read_settings(os.environ, forgiving=True).policies, bootstrap.environment())
    told: dict[str, Any]
    if (release := loaded.release(feature)) is not None:
        told = {"file": str(release.file), "release": plain(release.policy)}
    else:
        found = loaded.feature(feature)
        told = {
            "file": str(found.file),
            "feature": plain(found.policy),
            "defaulted": sorted(found.defaulted),
            "unset": {path: list(names) for path, names in found.unset.items()},
            "severities": {name.value: plain(loaded.severity(found.policy, name).policy) for name in Severity},
        }
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        import yaml

        click.echo(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100), nl=False)
    return 0


@policy.command()
@click.argument("which", type=click.Choice(["feature", "severity", "automation", "release"]), required=False)
@click.option("--write", metavar="FOLDER", type=click.Path(), help="Write the schema files into FOLDER instead.")
@json_option
def schema(which: str | None, write: str | None, as_json: bool) -> int:
    """The JSON Schema of policy files, for editors."""
    from pathlib import Path

    from rollback.policy_schema import policy_schema, write_schemas

    if write is not None:
        written = [str(path) for path in write_schemas(Path(write))]
        click.echo(json.dumps({"written": written, "exit": 0}) if as_json else "\n".join(written))
        return 0
    schemas = policy_schema()
    click.echo(json.dumps(schemas[which] if which else schemas, indent=None if as_json else 2, ensure_ascii=False))
    return 0


@policy.command()
@json_option
def diagram(as_json: bool) -> int:
    """The transition table as Mermaid diagrams."""
    from rollback.states_page import states_page

    click.echo(json.dumps({"markdown": states_page(), "exit": 0}) if as_json else states_page(), nl=as_json)
    return 0


@policy.command(
    epilog="""\b
Examples:
  rollback history sm --json > incident.json
  rollback policy replay incident.json --feature sm
  rollback policy replay outage.csv --feature sm --compare ../stricter-policies
"""
)
@click.argument("file", type=click.Path())
@click.option("--feature", required=True, metavar="FEATURE", help="The feature whose incident it is.")
@click.option("--policies", metavar="FOLDER", type=click.Path(), help="The policies to replay. Default: yours.")
@click.option("--compare", metavar="FOLDER", type=click.Path(), help="Other policies, for the same recording.")
@json_option
def replay(file: str, feature: str, policies: str | None, compare: str | None, as_json: bool) -> int:
    """Run a recorded incident through a policy: what would have happened when, beside what was done.

    FILE is an export of the history, CSV, or JSON lines; docs/replay.md has the columns. Touches nothing.
    """
    from rollback import bootstrap
    from rollback.cli.screen import Screen
    from rollback.commands.replaying import Request, run
    from rollback.kill_settings import read_settings

    folder = policies or read_settings(os.environ, forgiving=True).policies
    return run(Request(file, feature, folder, compare), Screen(as_json=as_json), bootstrap.environment())
