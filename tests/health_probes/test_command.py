"""A program decides with its exit code or with counts; whatever else happens is no data."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollback.core.policy import Health
from rollback.ports import Measurement
from tests.health_probes.metric_benches import health, probing
from tests.health_probes.stand_ins import StillClock


def source(code: str, **fields: Any) -> dict[str, Any]:
    argv = [sys.executable, "-I", "-c", code]
    base = {"kind": "command", "name": "check", "argv": argv, "timeout": "20s", "window": "30s", "counts_from": 0}
    return {**base, **fields}


def run(code: str, *, environ: dict[str, str] | None = None, **fields: Any) -> Measurement:
    """One run: the try-out is one, too."""
    with probing(health(source(code, **fields)), StillClock(), environ=environ or {}) as probe:
        (found,) = probe.measure()
        return found


def told(found: Measurement) -> tuple[int | None, int | None]:
    return found.bad, found.total


def test_exit_0_is_good_and_1_is_harm() -> None:
    assert told(run("pass")) == (0, 1)
    assert told(run("raise SystemExit(1)")) == (1, 1)


@pytest.mark.parametrize("code", [2, 3, 77, 127, 255])
def test_every_other_exit_code_is_no_data(code: int) -> None:
    found = run(f"raise SystemExit({code})")
    assert found.harm is None
    assert f"exit code {code}" in found.detail


def test_a_program_that_is_killed_is_no_data() -> None:
    assert run("import os; os.kill(os.getpid(), 9)").harm is None


def test_a_program_that_is_not_there_is_no_data(tmp_path: Path) -> None:
    with probing(health(source("", argv=[str(tmp_path / "none")])), StillClock()) as probe:
        (found,) = probe.measure()
    assert found.harm is None
    assert "could not be started" in found.detail


COUNTS: dict[str, Any] = {"output": "counts", "minimum_volume": 20}


def test_counts_are_samples() -> None:
    assert told(run('print(\'{"bad": 3, "total": 200}\')', **COUNTS, maximum_samples_per_window=1000)) == (3, 200)
    assert told(run('print(\'{"bad": 3, "total": 200}\')', **COUNTS, maximum_samples_per_window=100)) == (2, 100)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        "[]",
        "0",
        "good",
        '{"bad": 0}',
        '{"total": 200}',
        '{"bad": 0, "total": 200, "more": 1}',
        '{"bad": "0", "total": "200"}',
        '{"bad": null, "total": 200}',
        '{"bad": false, "total": 200}',
        '{"bad": 0.5, "total": 200}',
        '{"bad": -1, "total": 200}',
        '{"bad": 201, "total": 200}',
        '{"bad": 0, "total": 0}',
        '{"bad": 0, "total": 19}',
        '{"bad": 0, "total": NaN}',
        '{"bad": 0, "total": 1e999}',
        '{"bad": 0, "total": 200}{"bad": 0, "total": 200}',
        "[" * 1800,
    ],
)
def test_output_that_is_no_count_is_no_data(output: str) -> None:
    assert run(f"print({output!r})", **COUNTS).harm is None


def test_counts_of_a_program_that_failed_are_no_data() -> None:
    assert run('print(\'{"bad": 0, "total": 200}\'); raise SystemExit(1)', **COUNTS).harm is None


def test_output_without_end_is_cut_off_and_no_data() -> None:
    found = run("import sys\nfor _ in range(200): sys.stdout.write(' ' * 10_000)", **COUNTS)
    assert found.harm is None
    assert "more output than 64 KB" in found.detail


def test_it_gets_the_named_variables_and_nothing_else() -> None:
    os.environ["ROLLBACK_TEST_SECRET"] = "secret-0001"
    try:
        code = (
            "import os\nwanted = {'PATH', 'LC_ALL', 'CHECK_TOKEN', 'ROLLBACK_WINDOW_BEGINS', 'ROLLBACK_WINDOW_ENDS'}\n"
            "raise SystemExit(0 if set(os.environ) == wanted and os.environ['CHECK_TOKEN'] == 'abc' else 1)"
        )
        assert told(run(code, environ={"CHECK_TOKEN": "abc", "OTHER": "x"}, environment=["CHECK_TOKEN"])) == (0, 1)
    finally:
        del os.environ["ROLLBACK_TEST_SECRET"]


def test_a_named_variable_that_is_not_set_leaves_it_unknown() -> None:
    with probing(health(source("pass", environment=["CHECK_TOKEN"])), StillClock(), environ={}) as probe:
        (found,) = probe.measure()
        assert probe.unknown == {"check": "CHECK_TOKEN is not set"}
    assert found.harm is None


def test_it_is_told_which_window_it_is_about() -> None:
    code = (
        "import os, datetime\n"
        "names = ('ROLLBACK_WINDOW_BEGINS', 'ROLLBACK_WINDOW_ENDS')\n"
        "begins, ends = (datetime.datetime.fromisoformat(os.environ[name]) for name in names)\n"
        "raise SystemExit(0 if (ends - begins).total_seconds() == 30 else 1)"
    )
    assert told(run(code)) == (0, 1)


def test_there_is_no_shell_and_no_input() -> None:
    code = "import sys; raise SystemExit(0 if sys.argv[1] == '$(exit 1)' and not sys.stdin.read() else 1)"
    assert told(run("", argv=[sys.executable, "-I", "-c", code, "$(exit 1)"])) == (0, 1)


def test_after_the_timeout_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    found = run(code, timeout="3s")
    assert found.harm is None
    assert "no end within 3 s" in found.detail
    for pid in pids.read_text().split():
        assert not _runs(int(pid))


def _runs(pid: int) -> bool:
    """Whether it still does anything; a process that nobody has waited for yet does nothing any more."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if status == "Z":
            return False
        os.sched_yield()
    return True


def test_closing_kills_what_runs() -> None:
    with probing(health(source("import time; time.sleep(600)", timeout="25s")), StillClock()) as probe:
        found: list[Measurement] = []
        thread = threading.Thread(target=lambda: found.extend(probe.measure()))
        thread.start()
        source_of = probe._parts[0].probe._source  # type: ignore[attr-defined]
        deadline = time.monotonic() + 10
        while source_of._running is None and time.monotonic() < deadline:
            os.sched_yield()
        source_of.close()
        thread.join(10)
    assert [one.harm for one in found] == [None]


def test_what_it_writes_is_never_told() -> None:
    found = run("import sys; print('secret-0001'); sys.stderr.write('secret-0001'); raise SystemExit(2)")
    assert "secret-0001" not in repr(found)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"argv": ["check.sh"]}, "full path"),
        ({"argv": []}, "at least 1"),
        ({"timeout": "31s", "window": "30s"}, "longer than window"),
        ({"environment": ["A=b"]}, "match pattern"),
    ],
)
def test_a_command_that_cannot_be_right_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Health.model_validate({"metrics": [source("pass", **fields)]})
