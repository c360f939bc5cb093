"""The systemd unit: systemd understands it, it gives the server no more than it needs, and its times fit the code's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rollback.server import run
from tests.requires import require_program

UNIT = Path(__file__).parents[2] / "docs" / "operations" / "rollback.service"
MOST_EXPOSED = 20
"""Of 100: 1.4 of 10 when it was written; what is left is that it may talk to any address."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, starting a program that is there: systemd looks for it."""
    path = tmp_path / "rollback.service"
    path.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text("utf-8")), "utf-8")
    return path


def setting(name: str) -> str:
    found = re.findall(rf"(?m)^{name}=(.*)$", UNIT.read_text("utf-8"))
    assert len(found) == 1, name
    return str(found[0])


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require_program("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_systemd_understands_every_line_of_it(unit: Path) -> None:
    done = analyzed("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_server_gets_no_more_than_it_needs(unit: Path) -> None:
    done = analyzed("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", str(unit))
    assert done.returncode == 0, done.stdout


def test_systemd_waits_as_long_as_an_end_in_order_may_take() -> None:
    longest = max(run.ANSWERS_WITHIN, run.OPERATIONS_WITHIN)
    longest += run.DISPATCHER_WITHIN + run.SUPERVISOR_WITHIN + run.NOTICES_WITHIN
    assert int(setting("TimeoutStopSec")) > longest


def test_the_watchdog_hears_of_the_server_in_time() -> None:
    assert int(setting("WatchdogSec")) >= 10  # it is told three times within it, and never more often than each second
    assert setting("Type") == "notify"


def test_no_secret_is_in_it() -> None:
    text = UNIT.read_text("utf-8")
    assert not re.search(r"(?m)^Environment=.*(SECRET|PASSWORD|TOKEN)=", text)
    assert re.search(r"(?m)^LoadCredential=", text)
