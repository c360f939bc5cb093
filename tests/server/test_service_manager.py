"""The protocol of systemd's notifications, and environments in which there is nobody to notify."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rollback.server.service_manager import ServiceManager


def test_a_status_is_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}).ready("fine\nREADY=0\r\nMAINPID=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=fine READY=0 MAINPID=1"


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0rollback-test-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@rollback-test-{os.getpid()}"}).stopping()
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=ending"


@pytest.mark.parametrize("address", ["", "@", "/", "relative", "/does/not/exist", "x" * 500, "/" + "x" * 500])
def test_nobody_to_notify_is_no_error(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).alive()
    assert ServiceManager({"NOTIFY_SOCKET": address}).watchdog_seconds is None


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # it is meant for the process that started us
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_served_when_it_watches_this_process(environ: dict[str, str], seconds: float | None) -> None:
    assert ServiceManager(environ).watchdog_seconds == seconds
