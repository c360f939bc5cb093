"""`python -m tests.bench`: prints the ratios, and ends with 1 when one is above its limit."""

from __future__ import annotations

import argparse
import sys

from tests.bench.kill import LIMITS, compare
from tests.bench.trouble import TROUBLE_LIMIT, compare_trouble


def main() -> int:
    """Runs both comparisons."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs per comparison")
    parser.add_argument("--slack", type=float, default=1.0, help="what a noisy machine may add to each limit, a factor")
    given = parser.parse_args()
    rounds, failed = given.rounds, 0
    print("Cold `rollback disable` against a script of curl and jq (same read and put, same stand-in, run by run)")
    for name, delay in (("v2-like stand-in (put 80 ms)", 0.08), ("instant stand-in", 0.0)):
        found = compare(delay, rounds)
        for what, ratio in (("write acknowledged", found.acknowledged), ("everything", found.everything)):
            limit = LIMITS[name][what]
            failed += ratio > limit * given.slack
            print(f"  {name}: {what} ×{ratio:.2f} of the script's whole time (limit ×{limit:g})  {_mark(ratio, limit)}")
        print(f"    medians: script {found.script:.0f} ms, acknowledged {found.ms[0]:.0f} ms, all {found.ms[1]:.0f} ms")
    print("The same `disable` with journal and ledger in trouble, to one without")
    for trouble, ratio in compare_trouble(rounds).items():
        failed += ratio > TROUBLE_LIMIT * given.slack
        print(f"  {trouble}: ×{ratio:.2f} (limit ×{TROUBLE_LIMIT:g})  {_mark(ratio, TROUBLE_LIMIT)}")
    return 1 if failed else 0


def _mark(ratio: float, limit: float) -> str:
    return "ok" if ratio <= limit else "TOO SLOW"


sys.exit(main())
