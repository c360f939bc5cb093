"""The stand-ins as processes of their own: they say where they listen, and go when they are told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.calls import ask, boolean_flag, seeded
from tests.sandbox.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `python -m rollback.sandbox …`; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rollback.sandbox", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    """Where it listens, once it does."""
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


def test_flipt_serves_its_seed_and_ends_quickly_on_sigterm(start: Start, tmp_path: Path) -> None:
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps(seeded(boolean_flag())), encoding="utf-8")
    fault = json.dumps({"kind": "status", "path": "/snapshot", "status": 502})
    process = start(
        "flipt", "--api", "v2", "--port", "0", "--put-delay", "0.01", "--token", "T", "--seed", str(seed),
        "--fault", fault,
    )  # fmt: skip
    url = url_of(process)
    snapshot = "/internal/v1/evaluation/snapshot/namespace/mhv"
    assert ask(url, "GET", snapshot, authorization="Bearer T").status == 502
    assert ask(url, "GET", snapshot).status == 401
    body = ask(url, "GET", snapshot, authorization="JWT T").body
    assert [flag["key"] for flag in body["flags"]] == ["sm"]
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert time.monotonic() - asked < 2


def test_a_replica_process_follows_a_primary_process(start: Start, tmp_path: Path) -> None:
    seed = tmp_path / "seed.yml"
    seed.write_text("namespace: mhv\nflags:\n- {key: sm, name: SM, enabled: true, type: BOOLEAN_FLAG_TYPE}\n")
    primary = url_of(start("flipt", "--api", "v1", "--seed", str(seed)))
    replica = url_of(start("flipt", "--replica-of", primary, "--lag", "0.2"))
    flag = "/api/v1/namespaces/mhv/flags/sm"
    assert ask(primary, "PUT", flag, {"name": "SM", "enabled": False}).body["enabled"] is False
    assert ask(replica, "GET", flag).body["enabled"] is True
    wait_until(lambda: ask(replica, "GET", flag).body["enabled"] is False)


def test_a_file_is_served_read_only(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "features.yml"
    file.write_text("namespace: va\nflags:\n- {key: sm, name: SM, enabled: true, type: BOOLEAN_FLAG_TYPE}\n")
    url = url_of(start("flipt", "--file", str(file), "--settle", "0"))
    flag = "/api/v1/namespaces/va/flags/sm"
    assert ask(url, "PUT", flag, {"name": "SM"}).status == 500
    file.write_text("namespace: va\nflags:\n- {key: sm, name: SM, enabled: false, type: BOOLEAN_FLAG_TYPE}\n")
    assert ask(url, "GET", flag).body["enabled"] is False


def test_sm_api_starts_as_told(start: Start) -> None:
    url = url_of(start("sm-api", "--port", "0", "--mode", "broken", "--requires", "X-Bypass: s", "--status", "500"))
    folders = "/my_health/v1/messaging/folders"
    assert ask(url, "GET", folders).status == 403
    assert ask(url, "GET", folders, x_bypass="s").status == 500


@pytest.mark.parametrize(
    "arguments",
    [
        ("flipt", "--seed", "none.json"),
        ("flipt", "--fault", '{"kind": "explode"}'),
        ("flipt", "--replica-of", "http://127.0.0.1:1"),
        ("sm-api", "--error-rate", "2"),
        ("nothing",),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_a_reason(start: Start, arguments: tuple[str, ...]) -> None:
    process = start(*arguments)
    _, reason = process.communicate(timeout=10)
    assert process.returncode == 2
    assert reason
    assert "Traceback" not in reason
