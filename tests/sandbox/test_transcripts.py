"""The stand-in gives the same status and body as a real Flipt, for every step that was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollback.sandbox import FliptServer
from tests.sandbox.transcripts import (
    Answered,
    Caller,
    Transcript,
    all_transcripts,
    comparable,
    differences,
    transcript,
)

TOKEN = "token-of-the-test"
STEPS = [
    pytest.param(one.api, one.name, number, id=f"{one.api}-{one.name}-{number}")
    for one in all_transcripts()
    for number in range(len(one.steps))
]

DECLARED = """\
version: "1.4"
namespace: va
flags:
- key: sm
  name: SM
  type: BOOLEAN_FLAG_TYPE
  enabled: true
  rollouts:
  - segment: {key: veterans, value: true}
segments:
- key: veterans
  name: Veterans
  match_type: ANY_MATCH_TYPE
  constraints:
  - {type: STRING_COMPARISON_TYPE, property: role, operator: eq, value: veteran}
"""


def server_for(one: Transcript, folder: Path) -> FliptServer:
    """An empty server, set up as the transcript's README says."""
    if one.name == "read-only-storage":
        declared = folder / "features.yml"
        declared.write_text(DECLARED, encoding="utf-8")
        return FliptServer("v1", file=declared)
    return FliptServer(one.api, token=TOKEN if one.name == "auth" else None)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[Answered]]:
    """What the stand-in answers to all steps of all transcripts, each on a server of its own."""
    given: dict[tuple[str, str], list[Answered]] = {}
    for one in all_transcripts():
        with server_for(one, tmp_path_factory.mktemp("files")) as server:
            caller = Caller(server.port, {"token": TOKEN})
            given[one.api, one.name] = [caller.send(step) for step in one.steps]
            caller.close()
    return given


@pytest.mark.parametrize(("api", "name", "number"), STEPS)
def test_step_is_answered_as_by_a_real_flipt(
    answers: dict[tuple[str, str], list[Answered]], api: str, name: str, number: int
) -> None:
    step = transcript(api, name).steps[number]
    wanted, given = step["response"], answers[api, name][number]
    found = differences(wanted["status"], given.status, "status")
    found += differences(comparable(wanted["body"]), comparable(given.body))
    wanted_headers = comparable(wanted["headers"])
    found += differences(
        wanted_headers,
        comparable({header: value for header, value in given.headers.items() if header in HEADERS}),
        "headers",
    )
    assert not found, "\n".join([json.dumps(step["request"]), *found])


HEADERS = frozenset({"content-type", "etag", "www-authenticate"})


def test_there_are_steps_of_both_versions_to_compare_with() -> None:
    counted = {api: sum(len(one.steps) for one in all_transcripts() if one.api == api) for api in ("v1", "v2")}
    assert counted == {"v1": 188, "v2": 166}


def test_a_difference_is_told_with_its_place() -> None:
    wanted: dict[str, Any] = {"flags": [{"enabled": True, "id": "a"}]}
    given: dict[str, Any] = {"flags": [{"enabled": False, "id": "b"}]}
    assert differences(comparable(wanted), comparable(given)) == [
        "body.flags[0].enabled: a real Flipt said True, the stand-in False"
    ]
