"""The group of commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from typing import Any

import click

from rollback.errors import Interrupted, RollbackError

COMMANDS: dict[str, str] = {
    "disable": "rollback.cli.disable:disable",
    "enable": "rollback.cli.returning:enable",
    "undo": "rollback.cli.returning:undo",
    "false-alarm": "rollback.cli.returning:false_alarm",
    "close": "rollback.cli.returning:close",
    "ci": "rollback.cli.pipeline:ci",
    "open": "rollback.cli.cases:open_case",
    "raise": "rollback.cli.cases:raise_severity",
    "fix": "rollback.cli.cases:fix",
    "note": "rollback.cli.cases:note",
    "adopt": "rollback.cli.cases:adopt",
    "keep-off": "rollback.cli.cases:keep_off",
    "release": "rollback.cli.cases:release",
    "approve": "rollback.cli.approving:approve",
    "hold": "rollback.cli.holding:hold",
    "status": "rollback.cli.reading:status",
    "history": "rollback.cli.reading:history",
    "verify": "rollback.cli.reading:verify",
    "check": "rollback.cli.checking:check",
    "doctor": "rollback.cli.checking:doctor",
    "runbook": "rollback.cli.reading:runbook",
    "source": "rollback.cli.holding:source",
    "inbox": "rollback.cli.inbox:inbox",
    "token": "rollback.cli.tokens:token",
    "serve": "rollback.cli.serving:serve",
    "watch": "rollback.cli.serving:watch",
    "policy": "rollback.cli.policies:policy",
    "completion": "rollback.cli.completion:completion",
    "demo": "rollback.cli.demo:demo",
}
"""Every command and where it lives, in the order of `--help`."""

_INTERRUPTED = 130


class LazyGroup(click.Group):
    """Imports a command's module when it is called (or listed by `--help`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command; None when there is no such name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


def _show_version(ctx: click.Context, _option: click.Parameter, is_wanted: bool) -> None:
    """Prints it and ends; a checkout that was never installed has none."""
    if not is_wanted or ctx.resilient_parsing:
        return
    from importlib import metadata

    try:
        version = metadata.version("rollback-controller")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    click.echo(f"rollback, version {version}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Start with: rollback status · rollback disable FEATURE · rollback demo

\b
Exit codes:
  0    done
  1    unexpected
  2    usage or configuration; also a flag that does not exist
  3    refused by policy
  4    not healthy, or not enough evidence; or a disable came in between
  5    done but not proven, or sent and not settled
  6    flag store out of reach or refused: certainly nothing changed
  7    the ledger does not verify (`verify` only)
  8    journal or ledger cannot be written: returns refuse; `disable` goes on and exits as it would
  130  interrupted, nothing raised
""",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
@click.option("-v", "--verbose", is_flag=True, help="Log each step to standard error, as JSON when piped.")
def cli(verbose: bool) -> None:
    """Turns a feature off for every user, proves it, and brings it back on evidence of health."""
    if verbose:
        from rollback import log

        log.configure()


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code. Nothing but click's and our own errors is expected, none escapes."""
    as_json = "--json" in arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is an interrupt, like Ctrl-C
    try:
        result = cli.main(args=arguments, prog_name="rollback", standalone_mode=False)
        return int(result or 0)
    except click.exceptions.Exit as done:
        return int(done.exit_code)
    except click.ClickException as error:
        return _fail("usage", error.format_message(), _usage_hint(error), 2, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail(Interrupted.code, "Interrupted; nothing was raised.", "", _INTERRUPTED, as_json)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except RollbackError as error:
        return _fail(error.code, error.message, error.next, error.exit_code, as_json)
    except Exception as error:  # the last line of defence: a traceback helps nobody at 3 a.m.
        return _fail("unexpected", f"Unexpected: {type(error).__name__}: {error}", _unexpected_hint(), 1, as_json)


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"See: {context.command_path} --help" if context is not None else "See: rollback --help"


def _unexpected_hint() -> str:
    """Where the traceback went: it is kept for those who mend it, and not shown to those who wait."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="rollback-", suffix=".traceback", delete=False) as kept:
            traceback.print_exc(file=kept)
    except OSError:
        return "Report this with the command that you typed."
    return f"Report this with the details in {kept.name}."


def _fail(code: str, message: str, hint: str, exit_code: int, as_json: bool) -> int:
    if as_json:
        document: dict[str, Any] = {"error": {"code": code, "message": message, "next": hint}, "exit": exit_code}
        click.echo(json.dumps(document))
        return exit_code
    click.echo(click.style(message, fg="red"), err=True)
    if hint:
        click.echo(f"Next: {hint}", err=True)
    return exit_code
