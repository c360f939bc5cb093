"""The commands that stay: `serve` receives alerts and answers programs, `watch` asks for alerts instead."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from rollback.cli.options import json_option


@click.command(
    epilog="""\b
Examples:
  rollback serve
  rollback serve --host 0.0.0.0 --port 8443     (behind a proxy that speaks TLS)
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one.")
@click.option(
    "--hand-over", is_flag=True, help="At the end leave what is watched to a successor, instead of retreating."
)
@json_option
def serve(host: str, port: int, hand_over: bool, as_json: bool) -> int:
    """Receive alerts, turn features off by themselves, watch what is exposed, answer programs.

    Runs until SIGTERM or SIGINT. Needs the extra `server`: pip install 'rollback-controller[server]'.
    """
    try:
        from rollback.server.start import run
    except ImportError as error:
        from rollback.errors import ConfigurationError

        raise ConfigurationError(
            f"`rollback serve` needs packages that are not installed ({error.name}).",
            next="Install them: pip install 'rollback-controller[server]'; or poll instead: rollback watch",
        ) from error
    return run(_say(as_json, "Ready: listening on "), host, port, hand_over=hand_over)


@click.command(
    epilog="""\b
Example:
  rollback watch
"""
)
@click.option("--once", is_flag=True, help="Ask each system once, decide, and end.")
@click.option(
    "--hand-over", is_flag=True, help="At the end leave what is watched to a successor, instead of retreating."
)
@json_option
def watch(once: bool, hand_over: bool, as_json: bool) -> int:
    """Ask for alerts where nobody can send them (read access is enough); then the same rules as for `serve`.

    Asks what `polls` in automation.yaml names. Runs until SIGTERM or SIGINT.
    """
    from rollback.cli.signals import listen
    from rollback.watching import run

    return run(listen(), _say(as_json, "Watching: "), once=once, hand_over=hand_over)


def _say(as_json: bool, last: str) -> Callable[[str], None]:
    """Lines for people; or, once it is ready, all of them as one JSON document. `last` is how the last one begins."""
    said: list[str] = []

    def collect(text: str) -> None:
        said.append(text)
        if text.startswith(last):
            click.echo(json.dumps({"ready": text.removeprefix(last).rstrip("."), "said": said}))

    return collect if as_json else click.echo
