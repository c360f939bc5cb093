"""Nothing is accepted without a secret, and nobody learns one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.adapters.alert_sources.authenticity import (
    MALFORMED_CREDENTIALS,
    NO_CREDENTIALS,
    WRONG_CREDENTIALS,
    Authenticity,
    Basic,
    Bearer,
    PagerDutySignature,
    SecretHeader,
    authenticity,
)
from rollback.errors import ConfigurationError

NEW = "new-secret-0123456789abcdef"
OLD = "old-secret-fedcba9876543210"
OTHER = "other-secret-000000000000000"
BODY = b'{"event": {"id": "1"}}'


def basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def signature(secret: str, body: bytes = BODY) -> str:
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


Build = Callable[[Sequence[str]], Authenticity]
Headers = Callable[[str], Mapping[str, str]]

SCHEMES: Mapping[str, tuple[Build, Headers]] = {
    "secret_header": (lambda secrets: SecretHeader("X-Rollback-Secret", secrets), lambda s: {"x-rollback-secret": s}),
    "basic": (lambda secrets: Basic("datadog", secrets), lambda s: {"authorization": basic("datadog", s)}),
    "bearer": (Bearer, lambda s: {"authorization": f"Bearer {s}"}),
    "pagerduty_signature": (PagerDutySignature, lambda s: {"x-pagerduty-signature": signature(s)}),
}

each_scheme = pytest.mark.parametrize(("build", "headers"), SCHEMES.values(), ids=SCHEMES)


@each_scheme
def test_the_secret_is_accepted_and_another_one_is_not(build: Build, headers: Headers) -> None:
    check = build([NEW]).check
    assert check(headers(NEW), BODY) is None
    assert check(headers(OTHER), BODY) == WRONG_CREDENTIALS
    assert check(headers(OLD), BODY) == WRONG_CREDENTIALS


@each_scheme
def test_both_secrets_are_accepted_while_one_is_changed(build: Build, headers: Headers) -> None:
    check = build([NEW, OLD]).check
    assert check(headers(NEW), BODY) is None
    assert check(headers(OLD), BODY) is None
    assert check(headers(OTHER), BODY) == WRONG_CREDENTIALS


@each_scheme
def test_a_request_without_credentials_is_refused(build: Build, headers: Headers) -> None:
    check = build([NEW]).check
    assert check({}, BODY) == NO_CREDENTIALS
    assert check(dict.fromkeys(headers(NEW), ""), BODY) == NO_CREDENTIALS
    assert check(dict.fromkeys(headers(NEW), "   "), BODY) == NO_CREDENTIALS


@each_scheme
@pytest.mark.parametrize("secrets", [[], [""], ["short"], ["x" * 15], [NEW, ""], [NEW, OLD, OTHER], NEW])
def test_no_source_can_be_built_without_a_real_secret(build: Build, headers: Headers, secrets: Sequence[str]) -> None:
    del headers
    with pytest.raises(ConfigurationError) as caught:
        build(secrets)
    assert caught.value.next
    assert NEW not in str(caught.value) + caught.value.next


@each_scheme
@pytest.mark.parametrize("secret", [NEW + "\n", " " + NEW, "ümlaut-secret-0123456789", "tab\tin-the-secret-012345"])
def test_a_secret_that_no_header_can_carry_is_refused_at_the_start(build: Build, headers: Headers, secret: str) -> None:
    del headers
    with pytest.raises(ConfigurationError) as caught:
        build([secret])
    assert secret.strip() not in str(caught.value)


@each_scheme
def test_no_secret_shows_in_a_representation(build: Build, headers: Headers) -> None:
    del headers
    built = build([NEW, OLD])
    for shown in (repr(built), str(built), f"{built!r}"):
        assert NEW not in shown
        assert OLD not in shown
        assert hashlib.sha256(NEW.encode()).hexdigest() not in shown


@each_scheme
@given(value=st.text(max_size=80), body=st.binary(max_size=40))
def test_no_header_raises_or_opens(build: Build, headers: Headers, value: str, body: bytes) -> None:
    built = build([NEW, OLD])
    for name in headers(NEW):
        for given_value in (value, f"Basic {value}", f"Bearer {value}", f"v1={value}", f"Basic {value}\udcff"):
            assert built.check({name: given_value}, body) in {NO_CREDENTIALS, MALFORMED_CREDENTIALS, WRONG_CREDENTIALS}


@each_scheme
def test_every_secret_is_compared_also_after_the_first_that_fits(build: Build, headers: Headers) -> None:
    built = build([NEW, OLD])
    for secret in (NEW, OLD, OTHER):
        assert comparisons(partial(built.check, headers(secret), BODY)) == 2


def comparisons(action: Callable[[], object]) -> int:
    """How often the action compares in constant time, as the interpreter reports its calls."""
    compared = 0

    def watch(_frame: FrameType, event: str, called: object) -> None:
        nonlocal compared
        compared += event == "c_call" and called is hmac.compare_digest

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        action()
    finally:
        sys.setprofile(before)
    return compared


def test_only_a_signature_says_anything_of_the_body() -> None:
    signs = {name for name, (build, _) in SCHEMES.items() if build([NEW]).signs_body}
    assert signs == {"pagerduty_signature"}
    check = PagerDutySignature([NEW]).check
    assert check({"x-pagerduty-signature": signature(NEW)}, BODY + b" ") == WRONG_CREDENTIALS
    assert check({"x-pagerduty-signature": signature(NEW, b"")}, b"") is None


def test_any_of_several_signatures_counts_and_other_versions_do_not() -> None:
    check = PagerDutySignature([NEW]).check

    def verdict(value: str) -> str | None:
        return check({"x-pagerduty-signature": value}, BODY)

    good, bad = signature(NEW), signature(OTHER)
    assert verdict(f"{bad},{good}") is None
    assert verdict(f"{bad}, {good}") is None
    assert verdict(f"v2=abcdef,{good}") is None
    assert verdict(f"v1=not-hex,{good}") is None
    assert verdict(f"{bad},{signature(OLD)}") == WRONG_CREDENTIALS
    assert verdict(good.replace("v1=", "v2=")) == MALFORMED_CREDENTIALS
    assert verdict(good.removeprefix("v1=")) == MALFORMED_CREDENTIALS
    assert verdict(good[:-1]) == MALFORMED_CREDENTIALS
    assert verdict(",,,") == MALFORMED_CREDENTIALS


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (basic("datadog", NEW).replace("Basic", "bAsIc"), None),
        (basic("somebody", NEW), WRONG_CREDENTIALS),
        (basic("datadog", ""), WRONG_CREDENTIALS),
        (basic("", f"datadog:{NEW}"), WRONG_CREDENTIALS),
        (f"Basic {base64.b64encode(NEW.encode()).decode()}", MALFORMED_CREDENTIALS),
        ("Basic", MALFORMED_CREDENTIALS),
        ("Basic ====", MALFORMED_CREDENTIALS),
        ("Basic /////w==", MALFORMED_CREDENTIALS),
        ("Basic ümlaut", MALFORMED_CREDENTIALS),
        (f"Bearer {NEW}", MALFORMED_CREDENTIALS),
        (NEW, MALFORMED_CREDENTIALS),
    ],
)
def test_basic_credentials_need_scheme_user_and_secret(value: str, verdict: str | None) -> None:
    assert Basic("datadog", [NEW]).check({"authorization": value}, BODY) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (f"bearer   {NEW}", None),
        (f"Bearer {NEW} more", WRONG_CREDENTIALS),
        ("Bearer", MALFORMED_CREDENTIALS),
        (NEW, MALFORMED_CREDENTIALS),
        (basic("datadog", NEW), MALFORMED_CREDENTIALS),
    ],
)
def test_a_bearer_token_needs_its_scheme(value: str, verdict: str | None) -> None:
    assert Bearer([NEW]).check({"authorization": value}, BODY) == verdict


@pytest.mark.parametrize("header", ["", "two words", "Ümlaut", "X-Secret:", "X\nY"])
def test_a_name_that_no_header_can_have_is_refused(header: str) -> None:
    with pytest.raises(ConfigurationError):
        SecretHeader(header, [NEW])


@pytest.mark.parametrize("user", ["", "a:b", "a\nb"])
def test_a_user_that_basic_cannot_carry_is_refused(user: str) -> None:
    with pytest.raises(ConfigurationError):
        Basic(user, [NEW])


def test_a_configuration_names_each_scheme_and_an_unknown_one_lists_them() -> None:
    for name, (build, headers) in SCHEMES.items():
        built = authenticity(name, [NEW], header="X-Rollback-Secret", user="datadog")
        assert type(built) is type(build([NEW]))
        assert built.check(headers(NEW), BODY) is None
    with pytest.raises(ConfigurationError, match="hmac") as caught:
        authenticity("hmac", [NEW])
    assert all(name in caught.value.next for name in SCHEMES)
