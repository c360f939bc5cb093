"""`python -m tests.bench`: prints the ratios, and ends with 1 when one is above its limit."""

from __future__ import annotations

import argparse
import sys

from tests.bench.alert import LIMITS as ALERT_LIMITS
from tests.bench.alert import STORM_LIMIT, compare_alert, compare_storm
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
    failed += _alerts(rounds, given.slack)
    return 1 if failed else 0


def _alerts(rounds: int, slack: float) -> int:
    """From an alert to what a streaming client sees, and a storm; how many limits are broken."""
    print("From an alert to 'a streaming flipt-client sees off' (put 80 ms, same stand-in, run by run)")
    times = compare_alert(min(rounds, 10))
    failed = 0
    for name, ratio in (("a bare read and put", times.to_bare), ("webhook with curl and jq", times.to_webhook)):
        limit = ALERT_LIMITS[name]
        failed += ratio > limit * slack
        print(f"  rollback serve to {name}: ×{ratio:.2f} (limit ×{limit:g})  {_mark(ratio, limit)}")
    print("    medians: " + ", ".join(f"{way} {ms:.0f} ms" for way, ms in times.ms.items()))
    print("A storm of 10,000 signed alerts over 50 connections")
    found = compare_storm()
    failed += found.critical > STORM_LIMIT * slack or found.p99_seconds > 1.0 * slack or found.lost > 0
    print(f"  {found.per_second:.0f} a second, {found.lost} lost, p99 of the answer {found.p99_seconds * 1000:.0f} ms")
    print(
        f"  critical alerts in its middle: ×{found.critical:.2f} of their time in idleness (limit ×{STORM_LIMIT:g}), "
        f"the slowest of five ×{found.slowest:.2f}  "
        f"{_mark(found.critical, STORM_LIMIT)}"
    )
    return failed


def _mark(ratio: float, limit: float) -> str:
    return "ok" if ratio <= limit else "TOO SLOW"


sys.exit(main())
