"""`rollback demo`: the whole story on the embedded default."""

from __future__ import annotations

import click

from rollback.cli.options import json_option


@click.command(
    epilog="""\b
Examples:
  rollback demo
  rollback demo --picture docs/demo.svg
"""
)
@click.option("--picture", metavar="FILE", type=click.Path(dir_okay=False), help="Draw the critical story as an SVG.")
@json_option
def demo(picture: str | None, as_json: bool) -> int:
    """Watch an incident in about a minute: a critical one, then a low one, on a file and servers of its own.

    Every command is this very program, started as a child. Only waits are shorter than in the shipped policies.
    """
    from rollback.cli.demo_run import Demo

    return Demo(picture, as_json=as_json).run()
