"""A real Alertmanager fires at a real server, as Prometheus makes it do."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import PATIENCE, until
from tests.e2e.serving import SECRET, Serving, serving, with_alerts
from tests.e2e.worlds import served
from tests.requires import require_program

pytestmark = pytest.mark.slow

CONFIGURATION = """\
route: {{receiver: rollback, group_by: [alertname], group_wait: 100ms, group_interval: 300ms, repeat_interval: 2s}}
receivers:
  - name: rollback
    webhook_configs:
      - url: {url}/alerts/alertmanager
        send_resolved: true
        http_config: {{authorization: {{credentials: {secret}}}}}
"""


@contextmanager
def alertmanager(folder: Path, server: Serving, secret: str = SECRET) -> Iterator[str]:
    """A real one that sends to the server; its address."""
    program = require_program("prometheus-alertmanager")
    configuration = folder / "alertmanager.yml"
    configuration.write_text(CONFIGURATION.format(url=server.url, secret=secret))
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        program,
        f"--config.file={configuration}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
        "--log.level=error",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: is_up(url), what="Alertmanager")
            yield url
        finally:
            process.terminate()


def is_up(url: str) -> bool:
    """Whether it answers."""
    try:
        return httpx.get(f"{url}/-/ready", timeout=PATIENCE).status_code == 200
    except httpx.HTTPError:
        return False


def fire(url: str, *, ends: timedelta | None = None, **labels: str) -> None:
    """What Prometheus sends; with `ends` the alert is over then."""
    now = datetime.now(UTC)
    alert = {"labels": {"alertname": "SmErrors", "env": "prod", **labels}, "startsAt": _began(now)}
    if ends is not None:
        alert["endsAt"] = (now + ends).isoformat()
    httpx.post(f"{url}/api/v2/alerts", json=[alert], timeout=PATIENCE).raise_for_status()


_BEGAN: list[str] = []


def _began(now: datetime) -> str:
    if not _BEGAN:
        _BEGAN.append((now - timedelta(seconds=1)).isoformat())
    return _BEGAN[0]


def test_a_real_alertmanager_turns_off_once_and_its_repeats_and_its_recovery_change_nothing(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    _BEGAN.clear()
    world = make_world("v1")
    with_alerts(world.cli.policies)
    with serving(world.cli) as server, alertmanager(tmp_path, server) as url:
        fire(url, severity="critical")
        until(lambda: server.cli.status()["off_proven"], what="a proven off")
        assert served(world.flipt.url) == 0
        writes = world.writes
        until(lambda: server.counted("rollback_duplicate_deliveries_total") > 0, what="a repeated notice")
        fire(url, severity="critical", ends=timedelta(0))
        until(lambda: "alerts_recovered" in server.names(), what="the recovery")
        assert world.writes == writes
        assert server.names().count("case_opened") == 1
        assert server.cli.status()["state"] == "disabled"


def test_an_alertmanager_with_a_wrong_secret_changes_nothing_and_is_told(make_world: MakeWorld, tmp_path: Path) -> None:
    _BEGAN.clear()
    world = make_world("v2")
    with_alerts(world.cli.policies)
    with (
        serving(world.cli) as server,
        alertmanager(tmp_path, server, secret="a-secret-that-was-rotated-away") as url,
    ):
        fire(url, severity="critical")
        until(lambda: server.counted("rollback_receiver_refused_total") > 0, what="the refusal")
        assert "alertmanager" in server.running.said("credentials")
        assert world.writes == 0
        assert server.cli.status()["state"] == "normal"
