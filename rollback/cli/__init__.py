"""The command line: thin. Each command is loaded only when it is called, since the kill path counts milliseconds."""

from __future__ import annotations

import gc
import sys


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with one of the exit codes of the README."""
    gc.disable()  # importing makes no garbage worth collecting, and looking for it costs the kill path 10 %
    from rollback.cli.app import run

    words = sys.argv[1:] if arguments is None else arguments
    if "disable" not in words:
        gc.enable()
    sys.exit(run(words))
