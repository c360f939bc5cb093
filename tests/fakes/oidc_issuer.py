"""An issuer of tokens on this machine: real HTTP, real keys, and whatever trouble a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/.well-known/jwks"
PATIENCE = 20.0

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key(size: int = 2048) -> rsa.RSAPrivateKey:
    """A fresh key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def public(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """Its public half, as an issuer publishes it."""
    if isinstance(key, rsa.RSAPrivateKey):
        told = dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))
    else:
        told = dict(ECAlgorithm.to_jwk(key.public_key(), as_dict=True))
    return {**told, "kid": kid, "use": "sig", **more}


@dataclass
class Issuer:
    """The issuer. `key` and `kid` sign; `published` are the keys that it gives; `asked` counts requests by path.

    `answers` are raw bodies instead of its own, `hangs` keeps an answer back until the issuer is closed.
    """

    key: PrivateKey = field(default_factory=rsa_key)
    kid: str = "key-1"
    url: str = ""
    published: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    hangs: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.published = [public(self.key, self.kid)]

    def rotate(self, kid: str = "key-2") -> None:
        """Signs with a new key from now on; the old one stays published."""
        self.key, self.kid = rsa_key(), kid
        self.published.append(public(self.key, kid))

    def claims(self, **more: Any) -> dict[str, Any]:
        """What GitHub signs for a deploy; one that is None is left out."""
        now = int(datetime.now(UTC).timestamp())
        told = {
            "iss": self.url,
            "aud": "https://rollback.example.org",
            "sub": "repo:org/repo:environment:production",
            "repository": "org/repo",
            "environment": "production",
            "workflow_ref": "org/repo/.github/workflows/deploy.yml@refs/heads/main",
            "job_workflow_ref": "org/shared/.github/workflows/release.yml@refs/tags/v1",
            "actor": "dev",
            "run_id": "19283746550",
            "sha": "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d",
            "jti": f"token-{next(_NUMBERS)}",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
            **more,
        }
        return {name: value for name, value in told.items() if value is not None}

    def token(self, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token, signed with the key of now."""
        algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        return self.signed(self.claims(**claims), algorithm, headers)

    def signed(self, claims: Mapping[str, Any], algorithm: str, headers: Mapping[str, Any] | None = None) -> str:
        """These very claims."""
        return jwt.encode(dict(claims), self.key, algorithm=algorithm, headers={"kid": self.kid, **(headers or {})})

    def body(self, path: str) -> bytes:
        """What it answers."""
        if path in self.answers:
            return self.answers[path]
        if path == DISCOVERY:
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"}).encode()
        return json.dumps({"keys": self.published}).encode()


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


_NUMBERS = _numbers()


@contextmanager
def issuing(**more: Any) -> Iterator[Issuer]:
    """An issuer on a free port; gone afterwards."""
    issuer = Issuer(**more)

    class Handler(BaseHTTPRequestHandler):
        """Answers as the issuer is set up."""

        def do_GET(self) -> None:
            """Every request."""
            path = self.path.partition("?")[0]
            issuer.asked[path] = issuer.asked.get(path, 0) + 1
            if issuer.hangs:
                issuer.over.wait(PATIENCE)
                return
            body = issuer.body(path)
            self.send_response(issuer.statuses.get(path, 200 if path in (DISCOVERY, KEYS) else 404))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    with over_http(Handler) as issuer.url:
        try:
            yield issuer
        finally:
            issuer.over.set()


@contextmanager
def over_http(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on a free port; gone afterwards."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that went away is no error here."""

    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
