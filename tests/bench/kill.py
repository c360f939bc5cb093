"""`rollback disable`, cold, against a shell script that does the same read and put with curl and jq."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import disable_command, settings, stand_in, timed

LIMITS = {
    "v2-like stand-in (put 80 ms)": {"write acknowledged": 3.0, "everything": 6.0},
    "instant stand-in": {"write acknowledged": 5.0, "everything": 12.0},
}

SCRIPT = r"""
set -eu
base="$1/api/v2/environments/default/namespaces/mhv/resources"
before=$(curl -fsS "$base/flipt.core.Flag/secure-messaging")
after=$(jq '{key: .resource.key, revision: .revision, payload: (.resource.payload | .rollouts =
  [{type: "THRESHOLD_ROLLOUT_TYPE", description: "off by script", threshold: {percentage: 100, value: false}}]
  + .rollouts)}' <<<"$before")
curl -fsS -o /dev/null -X PUT -H 'Content-Type: application/json' --data "$after" "$base"
"""
"""One after the other, since a pipe would go on to put what a failed read left; each failure ends it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of the ratios of neighbouring runs; `script` and `ms` are medians in milliseconds, for the curious."""

    acknowledged: float
    everything: float
    script: float
    ms: tuple[float, float]


def compare(put_delay: float, rounds: int) -> Comparison:
    """Runs both in turns, so that the machine's mood hits both alike."""
    for program in ("bash", "curl", "jq"):
        if shutil.which(program) is None:
            raise SystemExit(f"The comparison needs {program}.")
    with tempfile.TemporaryDirectory() as name, stand_in(Path(name), put_delay) as url:
        folder = Path(name)
        environment = settings(url, folder)
        script, ours = ["bash", "-c", SCRIPT, "script", url], disable_command()
        timed(ours, environment, folder)  # compiles the modules once, as an installation does
        pairs = [(timed(script, environment, folder), timed(ours, environment, folder)) for _ in range(rounds)]
    return Comparison(
        statistics.median(our.acknowledged / their.whole for their, our in pairs),
        statistics.median(our.whole / their.whole for their, our in pairs),
        statistics.median(their.whole for their, _ in pairs) * 1000,
        (
            statistics.median(our.acknowledged for _, our in pairs) * 1000,
            statistics.median(our.whole for _, our in pairs) * 1000,
        ),
    )
