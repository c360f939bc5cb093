"""Every fuzz target holds: quickly on inputs made from a seed, and deeper with atheris."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollback.adapters.alert_sources import PARSERS
from tests.alert_sources.payloads import FIRING, RECOVERED, TESTS, encoded
from tests.fuzz.running import reworded, scrambled

ROOT = Path(__file__).resolve().parents[2]
TARGETS = (*PARSERS, "authenticity")
SECONDS = 4

HEADERS = (b"", b"Basic\n{}", b"v1=" + b"0" * 64 + b",v1=zz\n{}", b"sender:secret\n", b"\xff\xfe\n\x00")

each_target = pytest.mark.parametrize("name", TARGETS)


def seeds(name: str) -> list[bytes]:
    """What the target starts from: the senders' own shapes."""
    if name == "authenticity":
        return list(HEADERS)
    return [encoded(shapes[name]) for shapes in (FIRING, RECOVERED, TESTS)]


def test_each_parser_and_the_authenticity_has_a_target() -> None:
    files = {path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py")}
    assert files == set(TARGETS)


@each_target
def test_a_target_holds_on_inputs_made_from_a_seed(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.fuzz_{name}").one_input
    made = list(scrambled(seeds(name), seed=20260301, count=400))
    assert len(set(made)) > 100
    for data in made:
        target(data)


def test_fields_change_as_wholes_and_bytes_that_are_no_json_do_not() -> None:
    shape = seeds("datadog")[0]
    made = {reworded(shape, seed) for seed in range(3000)}
    assert sum(b'"alert_transition": "Warn"' in one for one in made if one) >= 1
    assert all(reworded(b, 1) is None for b in (b"", b"{", b"{}", b"5", b"\xff", b"[" * 100_000))


@pytest.mark.fuzz
@each_target
def test_a_target_holds_while_coverage_leads(name: str, tmp_path: Path) -> None:
    require_atheris()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={SECONDS}", "-max_len=8192", "-timeout=20", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{name}", *options, str(corpus)]
    done = subprocess.run(command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr
    assert len(list(corpus.iterdir())) > len(seeds(name)), "coverage led nowhere: the code is not instrumented"


def require_atheris() -> None:
    """Skips where atheris cannot be had; where it is pinned and everything must run, its absence is a failure."""
    try:
        importlib.import_module("atheris")
    except ImportError:
        reason = "needs atheris, which is there for Linux and Python before 3.14"
        if os.environ.get("ROLLBACK_CI_REQUIRE") and sys.platform == "linux" and sys.version_info < (3, 14):
            pytest.fail(f"{reason}; ROLLBACK_CI_REQUIRE forbids to skip")
        pytest.skip(reason)


def unmeasured() -> dict[str, str]:
    """The environment without the measuring of coverage, which would slow the fuzzer down and count nothing new."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
