"""Telling the service manager how we do: systemd's small protocol, one datagram each (sd_notify(3)). Never raises."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class ServiceManager:
    """Whoever started us and wants to know, by `NOTIFY_SOCKET`; without it, every call is without effect."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = environ.get("WATCHDOG_USEC", "")
        self._watched = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_seconds(self) -> float | None:
        """How long we may be silent before we are restarted (`WatchdogSec=`); None: nobody watches this process."""
        if not self._watchdog.isascii() or not self._watchdog.isdigit() or not int(self._watchdog):
            return None
        if self._watched not in ("", str(os.getpid())):
            return None
        return int(self._watchdog) / 1_000_000

    def ready(self, status: str) -> None:
        """The start is over: requests are answered."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def alive(self) -> None:
        """We live."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1\nSTATUS=ending")

    def _send(self, text: str) -> None:
        if self._address[:1] not in ("/", "@") or len(self._address) < 2:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.setblocking(False)
            line.sendto(text.encode(), name)


def _line(text: str) -> str:
    return " ".join(text.split())
