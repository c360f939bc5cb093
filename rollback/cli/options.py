"""Options that several commands share, each told in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def feature_argument(*, required: bool = True) -> Callable[[F], F]:
    """FEATURE: a key, an alias, or the open incident."""
    return click.argument("feature", required=required)


def json_option(command: F) -> F:
    """`--json`: one JSON document on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")(command)


def dry_run_option(command: F) -> F:
    """`--dry-run`: says what would be done, writes nothing."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")(command)


def actor_option(command: F) -> F:
    """`--actor`: recorded as claimed."""
    return click.option("--actor", metavar="NAME", help="Who acts; recorded as claimed. Default: your account.")(
        command
    )


def reason_option(*, required: bool) -> Callable[[F], F]:
    """`--reason`: why, for the record."""
    if required:
        return click.option("--reason", metavar="TEXT", required=True, help="Why, for the record.")
    note = "Why, for the record; asked for later when it is not given."
    return click.option("--reason", metavar="TEXT", default="", help=note)


def has_server() -> bool:
    """Whether ROLLBACK_SERVER says that commands go to a server; whether rightly, is for `rollback.cli.remote`."""
    import os

    from rollback.environment import lookup, read_dotenv

    return "ROLLBACK_SERVER" in lookup(os.environ, read_dotenv(".env", os.environ))
