"""TLS: a self-made authority, certificates for both sides, and no way around verification."""

from __future__ import annotations

import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollback.adapters.flipt_http import AnswerLost, FliptHttp, Tls
from rollback.errors import ConfigurationError, StoreUnreachable
from tests.flag_stores.raw_server import RawServer, Visit
from tests.requires import require_program


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder, made by the openssl program."""

    folder: Path
    program: str

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def run(self, *arguments: str) -> None:
        subprocess.run([self.program, *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for host `name` and its key."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n")
        self.run(
            *("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        self.run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-sha256", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"), require_program("openssl"))
    made.run(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-sha256"),
        *("-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem"),
    )
    return made


def serving(certificate: tuple[Path, Path], *, clients: Path | None = None) -> RawServer:
    """A server with this certificate; with `clients` only for those whose certificate that authority made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return RawServer(lambda visit: visit.answer(200, {"fine": True}), tls=context)


def got(server: RawServer, tls: Tls, *, write: bool = False) -> object:
    http = FliptHttp(server.url, tls=tls)
    try:
        return http.request("PUT", "/x", deadline=time.monotonic() + 3, expects_write=write).body
    finally:
        http.close()


def test_a_server_of_the_given_authority_is_trusted(authority: Authority) -> None:
    with serving(authority.issue("localhost")) as server:
        assert got(server, Tls(ca=authority.certificate)) == {"fine": True}


@pytest.mark.parametrize("write", [False, True])
def test_an_unknown_authority_is_unreachable_and_gets_no_request(authority: Authority, write: bool) -> None:
    with serving(authority.issue("localhost")) as server:
        with pytest.raises(StoreUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            got(server, Tls(), write=write)
        assert server.visits == []


def test_a_certificate_for_another_host_is_unreachable_and_gets_no_request(authority: Authority) -> None:
    with serving(authority.issue("elsewhere")) as server:
        with pytest.raises(StoreUnreachable):
            got(server, Tls(ca=authority.certificate))
        assert server.visits == []


def test_our_own_certificate_is_shown_to_a_server_that_asks(authority: Authority) -> None:
    certificate, key = authority.issue("our-client")
    with serving(authority.issue("localhost"), clients=authority.certificate) as server:
        assert got(server, Tls(ca=authority.certificate, cert=certificate, key=key)) == {"fine": True}


def test_a_server_that_asks_for_a_certificate_serves_nobody_without_one(authority: Authority) -> None:
    with serving(authority.issue("localhost"), clients=authority.certificate) as server:
        # With TLS 1.3 the refusal comes after the request was sent, so a write's fate is open.
        with pytest.raises((StoreUnreachable, AnswerLost)):
            got(server, Tls(ca=authority.certificate), write=True)
        assert server.visits == []


def test_certificate_and_key_may_be_in_one_file(authority: Authority) -> None:
    certificate, key = authority.issue("both")
    both = authority.folder / "both-in-one.pem"
    both.write_text(certificate.read_text() + key.read_text())
    with serving(authority.issue("localhost"), clients=authority.certificate) as server:
        assert got(server, Tls(ca=authority.certificate, cert=both)) == {"fine": True}


def test_files_that_cannot_be_used_are_configuration_errors_that_name_them(
    authority: Authority, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    certificate, key = authority.issue("for-errors")
    for tls in (
        Tls(ca=empty),
        Tls(ca=tmp_path / "gone.pem"),
        Tls(cert=empty),
        Tls(cert=certificate, key=tmp_path / "gone.key"),
        Tls(cert=certificate, key=authority.folder / "ca.key"),
        Tls(key=key),
    ):
        http = FliptHttp("https://localhost:1", tls=tls)
        with pytest.raises(ConfigurationError) as caught:
            http.request("GET", "/x", deadline=time.monotonic() + 3)
        assert "ROLLBACK_FLIPT_" in caught.value.next


def test_a_key_with_a_password_fails_instead_of_asking_at_the_terminal(authority: Authority) -> None:
    certificate, key = authority.issue("locked")
    authority.run("rsa", "-in", key.name, "-aes256", "-passout", "pass:x1y2z3", "-out", "locked-with-password.key")
    with pytest.raises(ConfigurationError):
        Tls(cert=certificate, key=authority.folder / "locked-with-password.key").context()


def test_verification_cannot_be_switched_off() -> None:
    context = Tls().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert Tls.__slots__ == ("ca", "cert", "key")


def test_an_address_without_tls_loads_no_authorities() -> None:
    def behaviour(visit: Visit) -> None:
        visit.answer(200, {})

    with RawServer(behaviour) as server:
        # The authorities' file does not exist: it would be an error to load it.
        http = FliptHttp(server.url, tls=Tls(ca=Path("/no/such/file")))
        assert http.request("GET", "/x", deadline=time.monotonic() + 3).status == 200
        http.close()
