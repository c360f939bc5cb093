"""The keys of an issuer: kept, renewed, and never a way to hold us up or to speak for somebody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from rollback.adapters.signing_keys import HttpSigningKeys
from rollback.errors import StoreError
from rollback.oidc import KeysUnavailable, SigningKeys, TokenRefused
from tests.fakes.oidc_door import KEY, now, refused, verifier
from tests.fakes.oidc_issuer import DISCOVERY, KEYS, Issuer, issuing, public


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(key=KEY) as running:
        yield running


def test_keys_are_kept_and_a_new_one_is_fetched_when_it_is_used(issuer: Issuer) -> None:
    door = verifier(issuer, refresh_every=0.0)
    door.identity(issuer.token(), now())
    door.identity(issuer.token(), now())
    assert issuer.asked[KEYS] == 1
    issuer.rotate()
    assert door.identity(issuer.token(), now()).pipeline == "deploy"
    assert issuer.asked[KEYS] == 2


def test_keys_that_are_not_known_are_not_asked_for_again_and_again(issuer: Issuer) -> None:
    door = verifier(issuer)
    for number in range(5):
        assert "does not have" in refused(door, issuer.token(headers={"kid": f"stranger-{number}"}))
    assert issuer.asked[KEYS] == 1
    assert door.identity(issuer.token(), now()).pipeline == "deploy", "and the known one is as good as before"


def test_keys_get_old_and_are_fetched_anew(issuer: Issuer) -> None:
    clock = [0.0]
    keys = SigningKeys(HttpSigningKeys(time.monotonic), lambda: clock[0], lifetime=100.0, refresh_every=10.0)
    keys.key(issuer.url, issuer.kid)
    clock[0] = 101.0
    issuer.published = []
    with pytest.raises(TokenRefused):  # withdrawn: it no longer speaks for the issuer
        keys.key(issuer.url, issuer.kid)
    issuer.published = [public(issuer.key, issuer.kid)]
    clock[0] = 112.0
    assert keys.key(issuer.url, issuer.kid)["kid"] == issuer.kid
    issuer.statuses[KEYS] = 500
    clock[0] = 300.0
    with pytest.raises(KeysUnavailable):  # too old, and no newer ones to be had
        keys.key(issuer.url, issuer.kid)
    asked = issuer.asked[KEYS]
    with pytest.raises(KeysUnavailable):
        keys.key(issuer.url, issuer.kid)
    assert issuer.asked[KEYS] == asked, "an issuer in trouble is left alone for a while"


def test_an_issuer_in_trouble_does_not_take_its_known_keys_away(issuer: Issuer) -> None:
    door = verifier(issuer, refresh_every=0.0)
    door.identity(issuer.token(), now())
    issuer.statuses[KEYS] = 503
    refused(door, issuer.token(headers={"kid": "new"}), KeysUnavailable)
    assert door.identity(issuer.token(), now()).pipeline == "deploy"


def test_a_huge_list_of_keys_is_not_read(issuer: Issuer) -> None:
    issuer.answers[KEYS] = json.dumps({"keys": [], "more": "x" * 1_000_000}).encode()
    assert "more than 256 KB" in refused(verifier(issuer), issuer.token(), KeysUnavailable)


def test_a_slow_issuer_is_not_waited_for(issuer: Issuer) -> None:
    issuer.hangs = True
    began = time.monotonic()
    assert "no complete answer" in refused(verifier(issuer, within=0.3), issuer.token(), KeysUnavailable)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (DISCOVERY, b"<html>"),
        (DISCOVERY, b"[]"),
        (DISCOVERY, b'{"issuer": "https://evil.example.org"}'),
        (DISCOVERY, b'{"issuer": "ISSUER"}'),
        (DISCOVERY, b'{"issuer": "ISSUER", "jwks_uri": "http://127.0.0.1:1/keys"}'),
        (DISCOVERY, b'{"issuer": "ISSUER", "jwks_uri": "https://evil.example.org/keys"}'),
        (DISCOVERY, b'{"issuer": "ISSUER", "jwks_uri": "ISSUER/keys?x=1"}'),
        (DISCOVERY, b'{"issuer": "ISSUER", "jwks_uri": "http://[/"}'),
        (KEYS, b"[]"),
        (KEYS, b'{"keys": {}}'),
        (KEYS, json.dumps({"keys": [{}] * 101}).encode()),
    ],
)
def test_an_issuer_that_does_not_speak_for_itself_is_not_believed(issuer: Issuer, path: str, body: bytes) -> None:
    issuer.answers[path] = body.replace(b"ISSUER", issuer.url.encode())
    with pytest.raises(StoreError):
        HttpSigningKeys(time.monotonic)(issuer.url)
    refused(verifier(issuer), issuer.token(), KeysUnavailable)


def test_entries_that_are_no_keys_are_left_out(issuer: Issuer) -> None:
    issuer.published = [public(issuer.key, issuer.kid), {"kid": 7}, {"kty": "RSA"}, {"kid": "broken", "kty": "RSA"}]
    door = verifier(issuer)
    assert door.identity(issuer.token(), now()).pipeline == "deploy"
    refused(door, issuer.token(headers={"kid": "broken"}))
