"""Starting what is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED = {
    "namespaces": {
        "mhv": {
            "flags": [
                {
                    "key": "secure-messaging",
                    "name": "SM",
                    "type": "BOOLEAN_FLAG_TYPE",
                    "enabled": True,
                    "rollouts": [
                        {"segment": {"key": "veterans", "value": True}},
                        {"threshold": {"percentage": 50, "value": True}},
                    ],
                }
            ],
            "segments": [
                {
                    "key": "veterans",
                    "name": "Veterans",
                    "match_type": "ANY_MATCH_TYPE",
                    "constraints": [
                        {"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}
                    ],
                }
            ],
        }
    }
}


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds from the start of a process to its first line that says "acknowledged", and to its end."""

    acknowledged: float
    whole: float


@contextmanager
def stand_in(folder: Path, put_delay: float) -> Iterator[str]:
    """A Flipt v2 stand-in as a process of its own; its address."""
    seed = folder / "seed.json"
    seed.write_text(json.dumps(SEED))
    command = [sys.executable, "-m", "rollback.sandbox", "flipt", "--api", "v2", "--port", "0", "--seed", str(seed)]
    command += ["--put-delay", str(put_delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()


def settings(url: str, folder: Path) -> dict[str, str]:
    """The environment of a `disable` that waits for nobody's poll."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ROLLBACK_POLICIES": str(ROOT / "policies"),
        "ROLLBACK_FLIPT_URL": url,
        "ROLLBACK_LEDGER": f"sqlite:///{folder / 'rollback.db'}",
        "ROLLBACK_JOURNAL": str(folder / "rollback.journal"),
        "SM_CLIENT_POLL_SECONDS": "0",
        "RUST_BACKTRACE": "1",
    }


def timed(command: list[str], environment: Mapping[str, str], folder: Path, exits: tuple[int, ...] = (0,)) -> Timed:
    """Runs `command` and times it; fails when it ends otherwise than it should."""
    began = time.perf_counter()
    acknowledged = 0.0
    with subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "acknowledged" in line and not acknowledged:
                acknowledged = time.perf_counter() - began
    whole = time.perf_counter() - began
    if process.returncode not in exits:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)}")
    return Timed(acknowledged or whole, whole)


def disable_command() -> list[str]:
    """The console script's own entry, started cold."""
    return [sys.executable, "-c", "from rollback.cli import main; main()", "disable", "sm"]
