"""Tokens of pipelines: whoever forges one brings back what is broken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.token_uses.memory import MemoryTokenUses
from rollback.errors import HistoryUnwritable
from rollback.oidc import (
    LEEWAY,
    LONGEST,
    SigningKeys,
    TokenRefused,
    UnknownPipeline,
    Verifier,
    github_host,
    looks_like_one,
)
from tests.fakes.oidc_door import AUDIENCE, KEY, now, pipeline, refused, verifier
from tests.fakes.oidc_issuer import DISCOVERY, KEYS, Issuer, ec_key, issuing, public, rsa_key


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(key=KEY) as running:
        yield running


# -- what opens the door -------------------------------------------------------------------------------------------


def test_a_token_of_the_pipeline_says_who_it_is(issuer: Issuer) -> None:
    found = verifier(issuer).identity(issuer.token(), now())
    host = issuer.url.removeprefix("http://")
    assert (found.pipeline, found.repository, found.started_by) == ("deploy", "org/repo", "dev")
    assert found.workflow == f"{host}/org/repo/.github/workflows/deploy.yml@refs/heads/main"
    assert found.run_url == f"https://{host}/org/repo/actions/runs/19283746550"


def test_a_token_signed_on_an_elliptic_curve_is_good_too() -> None:
    with issuing(key=ec_key()) as issuer:
        assert verifier(issuer).identity(issuer.token(), now()).pipeline == "deploy"


def test_a_token_of_gitlab_has_other_words(issuer: Issuer) -> None:
    ref = "gitlab.example.org/group/app//.gitlab-ci.yml@refs/heads/main"
    more: dict[str, Any] = {"kind": "gitlab", "repository": "group/app", "workflow_ref": ref, "environment": None}
    told: dict[str, Any] = {
        "project_path": "group/app",
        "ci_config_ref_uri": ref,
        "user_login": "dev",
        "pipeline_id": "7",
    }
    found = verifier(issuer, **more).identity(issuer.token(repository=None, workflow_ref=None, **told), now())
    assert (found.workflow, found.started_by) == (ref, "dev")
    assert found.run_url == f"{issuer.url}/group/app/-/pipelines/7"


def test_what_a_token_does_not_say_is_empty(issuer: Issuer) -> None:
    found = verifier(issuer).identity(issuer.token(actor=None, run_id="x/../y"), now())
    assert (found.started_by, found.run_url) == ("", "")


def test_a_reusable_workflow_can_be_pinned(issuer: Issuer) -> None:
    pinned = "org/shared/.github/workflows/release.yml@refs/tags/v1"
    assert verifier(issuer, job_workflow_ref=pinned).identity(issuer.token(), now()).pipeline == "deploy"
    door = verifier(issuer, job_workflow_ref=pinned)
    assert "job_workflow_ref" in refused(door, issuer.token(job_workflow_ref="org/x/y.yml@refs/x"), UnknownPipeline)


def test_of_several_pipelines_the_right_one_is_found(issuer: Issuer) -> None:
    door = verifier(issuer)
    both = {"other": pipeline(issuer, repository="org/other"), **door.pipelines}
    assert Verifier(both, door.keys, door.uses).identity(issuer.token(), now()).pipeline == "deploy"
    told = refused(Verifier(both, door.keys, door.uses), issuer.token(environment="staging"), UnknownPipeline)
    assert told == "No pipeline here is like this one: environment staging."


# -- what does not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("repository", "org/fork"),
        ("repository", None),
        ("repository", ["org/repo"]),
        ("environment", "staging"),
        ("environment", None),
        ("workflow_ref", "org/repo/.github/workflows/deploy.yml@refs/pull/7/merge"),
        ("workflow_ref", "org/repo/.github/workflows/other.yml@refs/heads/main"),
    ],
)
def test_another_repository_environment_or_workflow_opens_nothing(issuer: Issuer, claim: str, value: Any) -> None:
    assert claim in refused(verifier(issuer), issuer.token(**{claim: value}), UnknownPipeline)


AGO, AHEAD = -3600, 3600


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": AGO}, "expired"),
        ({"nbf": AHEAD, "exp": 2 * AHEAD}, "not good yet"),
        ({"iat": AHEAD, "exp": 2 * AHEAD}, "not good yet"),
        ({"iat": 2 * AGO, "nbf": 2 * AGO, "exp": AHEAD}, "older than the policy"),
        ({"exp": None}, "does not say its exp"),
        ({"nbf": None}, "does not say its nbf"),
        ({"iat": None}, "does not say its iat"),
    ],
)
def test_a_token_of_another_time_opens_nothing(issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    at = int(now().timestamp())
    moved = {name: None if value is None else at + value for name, value in claims.items()}
    assert why in refused(verifier(issuer), issuer.token(**moved))


@pytest.mark.parametrize("value", [True, "2030-01-01", -1, 1e300, [1], {}], ids=str)
def test_a_time_that_is_none_opens_nothing(issuer: Issuer, value: Any) -> None:
    assert refused(verifier(issuer), issuer.token(exp=value))


def test_the_clocks_may_differ_a_little_and_no_more(issuer: Issuer) -> None:
    ends = now()
    token = issuer.token(exp=int(ends.timestamp()))
    door = verifier(issuer)
    with pytest.raises(TokenRefused, match="expired"):
        door.identity(token, ends + LEEWAY)
    assert door.identity(token, ends + LEEWAY - timedelta(seconds=2)).pipeline == "deploy"


@pytest.mark.parametrize("audience", ["https://other.example.org", f"{AUDIENCE}/", [AUDIENCE, "https://x"], [], None])
def test_a_token_for_somebody_else_opens_nothing(issuer: Issuer, audience: Any) -> None:
    assert "another audience" in refused(verifier(issuer), issuer.token(aud=audience))


def test_a_token_of_another_issuer_opens_nothing_and_asks_nobody(issuer: Issuer) -> None:
    with issuing(key=KEY) as other:
        assert "issuer" in refused(verifier(issuer), other.token())
        assert other.asked == {}, "an address in a token leads nowhere"
        assert issuer.asked == {}


def test_a_token_opens_the_door_once(issuer: Issuer) -> None:
    door, token = verifier(issuer), issuer.token()
    door.identity(token, now())
    assert "used before" in refused(door, token)
    again = issuer.signed(issuer.claims(jti=json.loads(_decoded(token.split(".")[1]))["jti"]), "RS256")
    assert "used before" in refused(door, again), "by its identifier, not by its text"


def test_of_many_at_once_with_one_token_one_gets_in(issuer: Issuer) -> None:
    door, token = verifier(issuer), issuer.token()

    def gets_in(_: int) -> bool:
        try:
            door.identity(token, now())
        except TokenRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(gets_in, range(16))) == 1


def test_a_token_that_was_refused_is_not_used_up(issuer: Issuer) -> None:
    door, other = verifier(issuer), verifier(issuer, repository="org/else")
    shared = Verifier(other.pipelines, other.keys, door.uses)
    token = issuer.token()
    refused(shared, token, UnknownPipeline)
    assert door.identity(token, now()).pipeline == "deploy"


@pytest.mark.parametrize("token_id", [None, "", 7, "x" * 501])
def test_a_token_without_an_identifier_opens_nothing(issuer: Issuer, token_id: Any) -> None:
    assert refused(verifier(issuer), issuer.token(jti=token_id))


def test_a_use_that_cannot_be_kept_opens_nothing(issuer: Issuer) -> None:
    class Full(MemoryTokenUses):
        def use(self, *_: Any) -> bool:
            raise HistoryUnwritable("the disk is full")

    door = verifier(issuer)
    with pytest.raises(HistoryUnwritable):
        Verifier(door.pipelines, door.keys, Full()).identity(issuer.token(), now())


# -- forgeries -----------------------------------------------------------------------------------------------------


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(issuer: Issuer, header: dict[str, Any], signature: bytes = b"", **claims: Any) -> str:
    """A token with this header and signature."""
    return f"{_encoded({'typ': 'JWT', **header})}.{_encoded(issuer.claims(**claims))}.{_encoded(signature)}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_a_token_that_nobody_signed_opens_nothing(issuer: Issuer, algorithm: str) -> None:
    refused(verifier(issuer), forged(issuer, {"alg": algorithm, "kid": issuer.kid}))
    refused(verifier(issuer), forged(issuer, {"alg": algorithm, "kid": issuer.kid}, b"x"))


def test_a_token_signed_with_the_public_key_as_a_password_opens_nothing(issuer: Issuer) -> None:
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    own = issuer.key.public_key()
    pem = own.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = own.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(public(issuer.key, issuer.kid)).encode()
    for secret in (pem, pem.strip(), der, jwk):
        unsigned = forged(issuer, {"alg": "HS256", "kid": issuer.kid}).rpartition(".")[0]
        mac = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
        refused(verifier(issuer), f"{unsigned}.{_encoded(mac)}")


def test_a_published_password_signs_nothing(issuer: Issuer) -> None:
    """An issuer's list may hold keys of other kinds: none of them speaks for a pipeline."""
    secret = b"s" * 32
    issuer.published = [{"kty": "oct", "kid": issuer.kid, "k": _encoded(secret), "alg": "HS256"}]
    unsigned = forged(issuer, {"alg": "HS256", "kid": issuer.kid}).rpartition(".")[0]
    mac = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
    refused(verifier(issuer), f"{unsigned}.{_encoded(mac)}")


def test_another_algorithm_of_the_same_key_opens_nothing(issuer: Issuer) -> None:
    for algorithm in ("RS384", "RS512", "PS256"):
        refused(verifier(issuer), issuer.signed(issuer.claims(), algorithm))


def test_a_changed_token_opens_nothing(issuer: Issuer) -> None:
    header, _, signature = issuer.token(repository="org/fork").split(".")
    refused(verifier(issuer), f"{header}.{_encoded(issuer.claims())}.{signature}")
    refused(verifier(issuer), f"{header}.{_encoded(issuer.claims())}.")


def test_a_strangers_key_under_a_known_name_opens_nothing(issuer: Issuer) -> None:
    published, issuer.key = issuer.published, rsa_key()
    issuer.published = published
    refused(verifier(issuer), issuer.token())


@pytest.mark.parametrize(
    "header", [{"jwk": {}}, {"jku": "https://evil.example.org"}, {"x5u": "https://evil.example.org"}], ids=str
)
def test_a_key_that_a_token_brings_along_is_not_looked_at(issuer: Issuer, header: dict[str, Any]) -> None:
    """Signed by its own key, which it brings along."""
    own, known = rsa_key(), issuer.published
    told = {**header, "jwk": public(own, issuer.kid)} if "jwk" in header else header
    issuer.key = own
    issuer.published = known
    refused(verifier(issuer), issuer.token(headers=told))
    assert set(issuer.asked) == {DISCOVERY, KEYS}


def test_a_demand_that_is_not_known_here_is_refused(issuer: Issuer) -> None:
    refused(verifier(issuer), issuer.token(headers={"crit": ["x"], "x": 1}))


@pytest.mark.parametrize("more", [{"use": "enc"}, {"alg": "RS512"}, {"d": "AQAB"}, {"kty": "EC"}, {"n": "AQ"}], ids=str)
def test_a_key_that_is_for_something_else_signs_nothing(issuer: Issuer, more: dict[str, str]) -> None:
    issuer.published = [public(issuer.key, issuer.kid, **more)]
    refused(verifier(issuer), issuer.token())


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_key_that_is_too_short_signs_nothing() -> None:
    with issuing(key=rsa_key(1024)) as issuer:
        assert "too weak" in refused(verifier(issuer), issuer.token())


@pytest.mark.parametrize(
    "token",
    ["", "eyJ", "eyJ.x", "eyJ.x.y", "eyJ.x.y.z", f"{_encoded([])}.{_encoded({})}.x", f"eyJ{'a' * LONGEST}.b.c"],
    ids=lambda token: token[:20],
)
def test_what_is_no_token_is_refused_and_asks_nobody(issuer: Issuer, token: str) -> None:
    with pytest.raises(TokenRefused):
        verifier(issuer).identity(token, now())
    assert issuer.asked == {}


@given(st.one_of(st.text(), st.from_regex(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True)))
def test_whatever_is_shown_either_is_refused_or_is_a_token(text: str) -> None:
    door = Verifier({}, SigningKeys(_unreachable, time.monotonic), MemoryTokenUses())
    with pytest.raises(TokenRefused):
        door.identity(text, now())


def _unreachable(_issuer: str) -> Any:
    raise AssertionError("nobody may be asked")


# -- small things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer_url", "host"),
    [
        ("https://token.actions.githubusercontent.com", "github.com"),
        ("https://token.actions.githubusercontent.com/enterprise", "github.com"),
        ("https://token.actions.octo.ghe.com", "octo.ghe.com"),
        ("https://github.example.org/_services/token", "github.example.org"),
    ],
)
def test_where_the_repositories_of_an_issuer_lie(issuer_url: str, host: str) -> None:
    assert github_host(issuer_url) == host


def test_our_own_tokens_are_told_from_those_of_pipelines(issuer: Issuer) -> None:
    assert looks_like_one(issuer.token())
    assert not looks_like_one("rb_abc")
    assert not looks_like_one("")
