"""Toggles read back: full on and full off can be agreed with or contradicted; in between nothing is known."""

from __future__ import annotations

from typing import Any

import pytest

from rollback.adapters.health_probes.feature_toggles import Agreement, FeatureToggles, Toggle
from rollback.adapters.health_probes.reading_back import Endpoint
from rollback.core.policy import Request
from rollback.errors import ConfigurationError
from rollback.sandbox.wire import Answer, json_answer
from rollback.sandbox.wire import Request as Asked
from tests.health_probes.stand_ins import answering

NAME = "mhv_secure_messaging_large_attachments"


def toggles(*features: Any) -> dict[str, Any]:
    return {"data": {"type": "feature_toggles", "features": list(features)}}


def told(answer: Answer, *names: str, percent: float = 0) -> tuple[dict[str, Toggle], Agreement, list[Asked]]:
    asked: list[Asked] = []

    def handler(request: Asked) -> Answer:
        asked.append(request)
        return answer

    with answering(handler) as url:
        request = Request.model_validate({"url": f"{url}/v0/feature_toggles?cookie_id=x", "timeout": "2s"})
        read = FeatureToggles(Endpoint(request, "the toggles", lambda: 0.0), names or (NAME,))
        found = dict(read.look()), read.agree(percent), asked
        read.close()
        return found


@pytest.mark.parametrize(
    ("value", "percent", "agreement"),
    [
        (True, 100, Agreement.AGREES),
        (False, 100, Agreement.DISAGREES),
        (True, 0, Agreement.DISAGREES),
        (False, 0, Agreement.AGREES),
        (True, 50, Agreement.UNKNOWN),
        (False, 50, Agreement.UNKNOWN),
        (False, 0.5, Agreement.UNKNOWN),
    ],
)
def test_only_full_on_and_full_off_can_be_agreed_with(value: bool, percent: float, agreement: Agreement) -> None:
    _, found, _ = told(json_answer(toggles({"name": NAME, "value": value})), percent=percent)
    assert found is agreement


@pytest.mark.parametrize(
    "features",
    [
        [],
        [{"name": "another", "value": True}],
        [{"name": NAME}],
        [{"name": NAME, "value": None}],
        [{"name": NAME, "value": "true"}],
        [{"name": NAME, "value": 1}],
        [{"name": NAME, "value": True}, {"name": NAME, "value": False}],
        ["x", None, {"value": True}],
    ],
)
@pytest.mark.parametrize("percent", [0, 100])
def test_a_toggle_that_is_not_told_clearly_is_unknown(features: list[Any], percent: float) -> None:
    found, agreement, _ = told(json_answer(toggles(*features)), percent=percent)
    assert found == {NAME: Toggle.UNKNOWN}
    assert agreement is Agreement.UNKNOWN


@pytest.mark.parametrize(
    "answer",
    [json_answer({}, 500), json_answer({}, 403), json_answer([]), json_answer({"data": []}), Answer(200, b"x")],
)
def test_no_answer_is_unknown_and_never_off(answer: Answer) -> None:
    _, agreement, _ = told(answer)
    assert agreement is Agreement.UNKNOWN


def test_one_toggle_of_several_that_disagrees_is_enough() -> None:
    answer = json_answer(toggles({"name": "a_one", "value": False}, {"name": "a_two", "value": True}))
    assert told(answer, "a_one", "a_two")[1] is Agreement.DISAGREES


def test_it_asks_for_the_names_and_keeps_what_the_address_says() -> None:
    _, _, asked = told(json_answer(toggles()), "a_one", "a_two", "a_one")
    assert asked[0].query == {"cookie_id": "x", "features": "a_one,a_two"}
    assert asked[0].path == "/v0/feature_toggles"


@pytest.mark.parametrize("names", [("cernerTransition",), ("a-b",), ("",), ("a_one", "B"), ("a__b",), ()])
def test_names_that_are_not_in_snake_case_are_refused(names: tuple[str, ...]) -> None:
    request = Request.model_validate({"url": "https://api.example.gov/v0/feature_toggles"})
    with pytest.raises(ConfigurationError, match="cannot be read back"):
        FeatureToggles(Endpoint(request, "the toggles", lambda: 0.0), names)
