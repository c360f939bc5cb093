"""`python -m tests.figures`: writes the page and its pictures, and ends with 1 when a claim does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.figures.numbers import ROOT
from tests.figures.page import write
from tests.figures.tables import SEED, Scale


def main() -> int:
    """Measures, writes, prints the claims."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures")
    parser.add_argument("--quick", action="store_true", help="few runs: seconds, for the tests")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder to write to")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    claims = write(given.out, Scale.quick() if given.quick else Scale.full())
    for claim in claims:
        print(f"{'holds' if claim.holds else 'DOES NOT HOLD'} ({claim.shown_in}): {claim.text}")
    print(f"Written to {given.out / 'evidence.md'} in {time.monotonic() - began:.0f} s; seed {SEED}.")
    return 0 if all(claim.holds for claim in claims) else 1


sys.exit(main())
