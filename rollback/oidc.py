"""Tokens that a pipeline's own system signs (OpenID Connect): whose they are, and whether they open anything here.

Each token is looked at in this order: is it one at all, do we know its issuer, has the issuer signed it, is it for us
and for now, is it of a pipeline that the policy names, and was it used before. Algorithms are fixed by the key, never
by the token (RFC 8725, 3.1); nothing that a token says leads to an address. Its text is repeated nowhere.
"""

from __future__ import annotations

import json
import math
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rollback.core.pipeline_policy import Pipeline, PipelineKind
from rollback.errors import RollbackError, StoreError
from rollback.redaction import redact

if TYPE_CHECKING:
    from rollback.adapters.token_uses.port import TokenUses

LEEWAY = timedelta(seconds=30)
"""How far the issuer's clock may be from ours."""

LONGEST = 16 * 1024
"""Characters of a token; GitHub's have about 1,700."""

SMALLEST_RSA = 2048
"""Bits (RFC 7518, 3.3)."""

Fetch = Callable[[str], Sequence[Mapping[str, Any]]]
"""Gives an issuer's keys, now. Raises `StoreError`."""


class TokenRefused(RollbackError):
    """It is no token that is good here and now."""

    code = "unauthenticated"
    exit_code = 2


class UnknownPipeline(RollbackError):
    """The token is good, and of a pipeline that may do nothing here."""

    code = "forbidden"
    exit_code = 3


class KeysUnavailable(RollbackError):
    """The issuer's keys cannot be had now, so nobody can tell."""

    code = "tokens_unreadable"
    exit_code = 6


@dataclass(frozen=True, slots=True)
class Identity:
    """Which pipeline shows a token, as its system has signed it.

    `pipeline` is its name in the policy, `workflow` its file with host and ref, `started_by` who started it, `run_url`
    the link to the run; what the token does not say is empty.
    """

    pipeline: str
    repository: str
    workflow: str
    started_by: str = ""
    run_url: str = ""


@dataclass(frozen=True, slots=True)
class _Words:
    """What a system calls its claims."""

    repository: str
    workflow_ref: str
    started_by: str
    run: str


_WORDS = {
    PipelineKind.GITHUB: _Words("repository", "workflow_ref", "actor", "run_id"),
    PipelineKind.GITLAB: _Words("project_path", "ci_config_ref_uri", "user_login", "pipeline_id"),
}


def looks_like_one(text: str) -> bool:
    """Whether a bearer token is a JSON web token, and none of `rollback token issue`."""
    return text.startswith("eyJ") and text.count(".") == 2


class SigningKeys:
    """The keys of issuers, kept for `lifetime` seconds, fetched once more for a key that is not known.

    An issuer is asked at most once in `refresh_every` seconds, whoever shows whatever token; not even then when asking
    fails. Usable from several threads.
    """

    def __init__(
        self,
        fetch: Fetch,
        monotonic: Callable[[], float],
        *,
        lifetime: float = 3600.0,
        refresh_every: float = 30.0,
    ) -> None:
        self._fetch, self._monotonic = fetch, monotonic
        self._lifetime, self._refresh_every = lifetime, refresh_every
        self._lock = threading.Lock()
        self._issuers: dict[str, _Issuer] = {}

    def key(self, issuer: str, key_id: str) -> Mapping[str, Any]:
        """The issuer's key of this name. Raises `TokenRefused` when it has none, `KeysUnavailable`."""
        with self._lock:
            known = self._issuers.setdefault(issuer, _Issuer())
        with known.lock:
            now = self._monotonic()
            found = known.keys.get(key_id) if self._is_fresh(known, now) else None
            if found is None and now - known.asked >= self._refresh_every:
                self._ask(issuer, known, now)
                found = known.keys.get(key_id) if self._is_fresh(known, now) else None
            if found is not None:
                return found
            if known.trouble or not self._is_fresh(known, now):
                raise KeysUnavailable(
                    f"The keys of {issuer} cannot be had now: {known.trouble or 'they are too old'}",
                    next="Try again in a minute; a token of `rollback token issue --role ci` needs no keys.",
                )
            raise TokenRefused("The token is signed with a key that its issuer does not have.")

    def _is_fresh(self, known: _Issuer, now: float) -> bool:
        return now - known.fetched < self._lifetime

    def _ask(self, issuer: str, known: _Issuer, now: float) -> None:
        known.asked = now
        try:
            listed = self._fetch(issuer)
        except StoreError as error:
            known.trouble = error.message
            return
        known.trouble, known.fetched = "", now
        known.keys = {str(one["kid"]): one for one in listed if isinstance(one.get("kid"), str)}


@dataclass(slots=True)
class _Issuer:
    keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fetched: float = -math.inf
    asked: float = -math.inf
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Knows pipelines by their tokens. `pipelines` are the policy's, by name."""

    pipelines: Mapping[str, Pipeline]
    keys: SigningKeys
    uses: TokenUses

    def identity(self, token: str, now: datetime) -> Identity:
        """Whose token it is; it is used up by that.

        Raises `TokenRefused`, `UnknownPipeline`, `KeysUnavailable`, and `HistoryUnwritable` when its use cannot be
        kept: then it opens nothing.
        """
        if len(token) > LONGEST or not looks_like_one(token):
            raise TokenRefused("That is no token of a pipeline.")
        header, unsigned = _part(token, 0), _part(token, 1)
        key_id, issuer = header.get("kid"), unsigned.get("iss")
        if not isinstance(key_id, str) or not isinstance(issuer, str) or "crit" in header:
            raise TokenRefused("The token does not say who signed it, or demands what is not known here.")
        known = {name: one for name, one in self.pipelines.items() if one.issuer == issuer}
        if not known:
            raise TokenRefused("The token is of an issuer that no pipeline here has.")
        claims = signed_claims(token, self.keys.key(issuer, key_id))
        if claims.get("iss") != issuer:
            raise TokenRefused("The token is of an issuer that no pipeline here has.")
        meant = {name: one for name, one in known.items() if claims.get("aud") == one.audience}
        if not meant:
            raise TokenRefused("The token is for another audience than this server.")
        expires_at = checked_times(claims, now)
        name = next((name for name, one in meant.items() if not differences(claims, one)), None)
        if name is None:
            raise _unknown(claims, meant)
        pipeline = meant[name]
        if now - _moment(claims, "iat") > pipeline.maximum_age + LEEWAY:
            raise TokenRefused("The token is older than the policy allows.", next="Ask for a new one.")
        token_id = claims.get("jti")
        if not isinstance(token_id, str) or not 1 <= len(token_id) <= 500:
            raise TokenRefused("The token has no identifier, so nobody could tell whether it was used before.")
        if not self.uses.use(issuer, token_id, expires_at + LEEWAY, now):
            raise TokenRefused("The token was used before; each opens the door once.", next="Ask for a new one.")
        return _identity(name, pipeline, claims)


def signed_claims(token: str, key: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the holder of this key has signed. Raises `TokenRefused`; times and names are looked at by others."""
    import jwt

    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(key.get("kty")))
    is_for_that = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    if algorithm is None or not is_for_that or (algorithm == "ES256" and key.get("crv") != "P-256"):
        raise TokenRefused("The token is signed with a key that is not for that.")
    try:
        public = jwt.PyJWK(dict(key), algorithm=algorithm)
        size = int(getattr(public.key, "key_size", 0))
        if "d" in key or size < (SMALLEST_RSA if algorithm == "RS256" else 256):
            raise TokenRefused("The token is signed with a key that is too weak, or not public.")
        signed = jwt.PyJWS(algorithms=[algorithm]).decode(token, public, algorithms=[algorithm])
        claims = json.loads(signed)
    except jwt.PyJWTError:
        raise TokenRefused("The token is not signed by who it says, or in a way that is not accepted.") from None
    except (ValueError, TypeError, RecursionError):
        raise TokenRefused("The token, or the key that signed it, cannot be read.") from None
    if not isinstance(claims, dict):
        raise TokenRefused("That is no token of a pipeline.")
    return claims


def checked_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    """When the token ends. Raises `TokenRefused` unless it is good now."""
    expires_at, not_before, issued_at = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if now >= expires_at + LEEWAY:
        raise TokenRefused("The token has expired.", next="Ask for a new one just before it is used.")
    if now < not_before - LEEWAY or now < issued_at - LEEWAY:
        raise TokenRefused("The token is not good yet.", next="Are the clocks of both machines right?")
    return expires_at


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**33:
        raise TokenRefused(f"The token does not say its {name}.")
    return datetime.fromtimestamp(value, UTC)


def differences(claims: Mapping[str, Any], pipeline: Pipeline) -> list[str]:
    """The claims in which a token differs from a pipeline; empty when it is its own."""
    words = _WORDS[pipeline.kind]
    pinned = {words.repository: pipeline.repository, words.workflow_ref: pipeline.workflow_ref}
    if pipeline.environment is not None:
        pinned["environment"] = pipeline.environment
    if pipeline.job_workflow_ref is not None:
        pinned["job_workflow_ref"] = pipeline.job_workflow_ref
    return [name for name, wanted in pinned.items() if claims.get(name) != wanted]


def _unknown(claims: Mapping[str, Any], meant: Mapping[str, Pipeline]) -> UnknownPipeline:
    """Which claims stand in the way, by the pipeline that is nearest; what the policy wants there is not told."""
    nearest = min((differences(claims, one) for one in meant.values()), key=len)
    told = [f"{name} {redact(str(claims.get(name, '(none)')), max_length=200)}" for name in nearest]
    return UnknownPipeline(
        f"No pipeline here is like this one: {', '.join(told)}.",
        next="The names and refs that may come in stand in automation.yaml, under pipelines.",
    )


def _identity(name: str, pipeline: Pipeline, claims: Mapping[str, Any]) -> Identity:
    words = _WORDS[pipeline.kind]
    workflow, run = pipeline.workflow_ref, claims.get(words.run)
    number = str(run) if isinstance(run, int | str) and str(run).isdecimal() else ""
    if pipeline.kind is PipelineKind.GITHUB:
        host = github_host(pipeline.issuer)
        workflow = f"{host}/{workflow}"
        link = f"https://{host}/{pipeline.repository}/actions/runs/{number}"
    else:
        link = f"{pipeline.issuer}/{pipeline.repository}/-/pipelines/{number}"
    by = claims.get(words.started_by)
    started_by = redact(by, max_length=80) if isinstance(by, str) else ""
    return Identity(name, pipeline.repository, workflow, started_by, link if number else "")


def github_host(issuer: str) -> str:
    """Where the repositories of an issuer of GitHub's lie.

    `token.actions.githubusercontent.com` is github.com, `token.actions.NAME.ghe.com` is NAME.ghe.com, and an own server
    issues at `https://HOSTNAME/_services/token`.
    """
    host = urlsplit(issuer).netloc
    name = host.removeprefix("token.actions.")
    return "github.com" if name == "githubusercontent.com" else name


def _part(token: str, number: int) -> Mapping[str, Any]:
    """A part of a token as it says itself: nobody has checked it."""
    text = token.split(".")[number]
    try:
        found = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TokenRefused("That is no token of a pipeline.")
    return found
