"""Client certificates, as docs/operations/mtls.md describes them: stunnel demands one in front of the receiver."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.requires import require_program
from tests.server.stand_ins import World, delivery, rest_of, serving, status_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "mtls.md"


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, in a folder."""

    folder: Path

    def run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def found(self, name: str) -> Path:
        """The authority itself: a key, and a certificate that it signs for itself."""
        subject = ("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.run("req", "-x509", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", *subject)
        return self.folder / f"{name}.pem"

    def vouch(self, authority: str, name: str, *extensions: str) -> Path:
        """A key and a certificate for `name`, in one file."""
        (self.folder / f"{name}.ext").write_text("\n".join(extensions), "utf-8")
        self.run("req", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2")
        self.run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signing, "-extfile", f"{name}.ext")
        both = self.folder / f"{name}.both.pem"
        both.write_bytes((self.folder / f"{name}.key").read_bytes() + (self.folder / f"{name}.crt").read_bytes())
        both.chmod(0o600)
        return both


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Proxy:
    """A stunnel that runs, and the files of who may talk to it."""

    world: World
    port: int
    authority: Path
    sender: Path
    stranger: Path

    def talk(self, certificate: Path | None, data: bytes) -> bytes:
        """Sends over TLS, with a certificate or without; gives what comes back."""
        context = ssl.create_default_context(cafile=str(self.authority))
        if certificate is not None:
            context.load_cert_chain(certificate)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=15) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            line.sendall(data)
            return rest_of(line)


def configuration() -> str:
    """What the page tells people to use, word for word: the first block that is marked as ini."""
    found = re.search(r"```ini\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def stunnel(folder: Path, values: dict[str, str]) -> Iterator[None]:
    """stunnel with the configuration of the page, in which these settings have other values."""
    text = configuration()
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
        assert count == 1, name
    (folder / "stunnel.conf").write_text(text, "utf-8")
    child = subprocess.Popen(
        [require_program("stunnel4"), str(folder / "stunnel.conf")], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        seen = []
        for line in child.stderr:
            seen.append(line)
            if "Configuration successful" in line:
                break
        else:
            pytest.fail("stunnel did not start: " + "".join(seen))
        yield
    finally:
        child.terminate()
        child.stderr.read()
        child.wait(30)
        child.stderr.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    require_program("openssl")
    require_program("stunnel4")
    ours = Authority(tmp_path)
    authority, _ = ours.found("authority"), ours.found("another")
    server = ours.vouch("authority", "localhost", "subjectAltName=DNS:localhost", "extendedKeyUsage=serverAuth")
    sender = ours.vouch("authority", "datadog", "extendedKeyUsage=clientAuth")
    stranger = ours.vouch("another", "stranger", "extendedKeyUsage=clientAuth")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(tmp_path) as world:
        values = {
            "accept": f"127.0.0.1:{port}",
            "connect": f"127.0.0.1:{world.port}",
            "cert": str(server),
            "key": str(server),
            "CAfile": str(authority),
            "pid": "",
        }
        with stunnel(tmp_path, values):
            yield Proxy(world, port, authority, sender, stranger)


def nothing_arrived(world: World) -> bool:
    # Its own count of answers, and not only the inbox: not even a refused request may have come through.
    text = world.services.meters.registry.get_sample_value
    answered = [text("rollback_receiver_answer_seconds_count", {"status": status}) for status in ("202", "401")]
    return world.kept() == [] and answered == [None, None]


def test_with_the_certificate_the_delivery_arrives(proxy: Proxy) -> None:
    assert status_of(proxy.talk(proxy.sender, delivery())) == 202
    assert len(proxy.world.kept()) == len(proxy.world.dispatcher.accepted) == 1


def test_a_certificate_alone_is_no_credentials(proxy: Proxy) -> None:
    assert status_of(proxy.talk(proxy.sender, delivery(X_Rollback_Secret="z" * 30))) == 401
    assert proxy.world.kept() == []


def refused(proxy: Proxy, certificate: Path | None) -> bool:
    """Whether there is no answer: with TLS 1.3 the refusal comes with the first read, after our part is done."""
    try:
        return proxy.talk(certificate, delivery()) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_the_certificate_the_handshake_fails_and_nothing_arrives(proxy: Proxy, who: str) -> None:
    assert refused(proxy, None if who == "nobody" else proxy.stranger)
    assert nothing_arrived(proxy.world)
    assert not refused(proxy, proxy.sender)


def test_a_secret_without_tls_does_not_get_through(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as line:
        line.sendall(delivery())
        assert status_of(rest_of(line)) == 0
    assert nothing_arrived(proxy.world)
