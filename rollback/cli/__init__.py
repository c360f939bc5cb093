"""The command line: thin. Each command is loaded only when it is called, since the kill path counts milliseconds."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with one of the exit codes of the README."""
    from rollback.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
