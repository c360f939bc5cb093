"""A network between a browser and the server that can swallow everything without a word, as a dead zone does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Network:
    """While `swallows` is set, what is sent gets lost: nothing is passed on, and nothing is closed."""

    url: str
    swallows: threading.Event = field(default_factory=threading.Event)
    _open: list[socket.socket] = field(default_factory=list)

    def carry(self, listener: socket.socket, port: int) -> None:
        """Passes connections on until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if not self.swallows.is_set():
                    sink.sendall(chunk)
            if not self.swallows.is_set():
                sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends every connection."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def swallowing(url: str) -> Iterator[Network]:
    """A network to the server at `url`; gone afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    network = Network(f"http://127.0.0.1:{listener.getsockname()[1]}")
    carrier = threading.Thread(target=network.carry, args=(listener, int(urlsplit(url).port or 0)), daemon=True)
    carrier.start()
    try:
        yield network
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        carrier.join(5)
        network.close()
