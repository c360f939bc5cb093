"""`rollback completion`: the script that makes a shell complete commands, options and features."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from rollback.cli.options import json_option
from rollback.errors import ConfigurationError


@click.command(
    epilog="""\b
Examples:
  eval "$(rollback completion bash)"
  rollback completion fish > ~/.config/fish/completions/rollback.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion(shell: str, as_json: bool) -> int:
    """Print the completion script for SHELL."""
    from rollback.cli.app import cli

    script = get_completion_class(shell)
    if script is None:
        raise ConfigurationError(f"There is no completion for {shell}.")
    source = script(cli, {}, "rollback", "_ROLLBACK_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": source, "exit": 0}) if as_json else source)
    return 0
