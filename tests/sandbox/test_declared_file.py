"""Declarative storage: the file is served as it is, and again when somebody changes it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rollback.sandbox import FliptServer
from rollback.sandbox.documents import SeedError
from tests.sandbox.calls import ask
from tests.sandbox.waiting import wait_until

V1_SHAPE = """\
version: "1.4"
namespace: va
flags:
- key: sm
  name: SM
  type: BOOLEAN_FLAG_TYPE
  enabled: true
  rollouts:
  - description: kill
    threshold: {percentage: 100, value: false}
  - segment: {key: veterans, value: true}
segments:
- key: veterans
  name: Veterans
  match_type: ANY_MATCH_TYPE
  constraints:
  - {type: STRING_COMPARISON_TYPE, property: role, operator: eq, value: veteran}
"""

V2_SHAPE = """\
version: "1.6"
namespace:
  key: va
  name: Veterans Affairs
flags:
- key: sm
  name: SM
  type: BOOLEAN_FLAG_TYPE
  enabled: true
  rollouts:
  - description: kill
    threshold:
      percentage: 100
  - segment:
      keys: [veterans]
      operator: OR_SEGMENT_OPERATOR
      value: true
- key: vf
  name: VF
  enabled: true
  variants:
  - key: blue
    attachment: {a: 1}
    default: true
segments:
- key: veterans
  name: Veterans
  match_type: ANY_MATCH_TYPE
  constraints:
  - {type: STRING_COMPARISON_TYPE, property: role, operator: isoneof, value: [veteran, caregiver]}
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A file in v1's shape, in which a kill rollout stands first."""
    path = tmp_path / "features.yml"
    path.write_text(V1_SHAPE, encoding="utf-8")
    return path


def enabled(server: FliptServer) -> bool:
    """What the server says about a veteran."""
    asked = {"namespaceKey": "va", "flagKey": "sm", "entityId": "e", "context": {"role": "veteran"}}
    return bool(ask(server.url, "POST", "/evaluate/v1/boolean", asked).body["enabled"])


def without_kill(text: str) -> str:
    """The document without its kill rollout."""
    start = text.index("  - description: kill")
    return text[:start] + text[text.index("  - segment:") :]


@pytest.mark.parametrize("shape", [V1_SHAPE, V2_SHAPE])
def test_both_shapes_are_served(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "features.yml"
    path.write_text(shape, encoding="utf-8")
    with FliptServer(file=path) as server:
        rollouts = ask(server.url, "GET", "/api/v1/namespaces/va/flags/sm/rollouts").body["rules"]
        assert [one["rank"] for one in rollouts] == [1, 2]
        assert rollouts[0]["threshold"] == {"percentage": 100, "value": False}
        assert rollouts[1]["segment"]["segmentKey"] == "veterans"
        assert not enabled(server)
        path.write_text(without_kill(shape), encoding="utf-8")
        assert enabled(server)


def test_an_atomic_replacement_of_the_file_is_noticed(declared: Path) -> None:
    with FliptServer(file=declared) as server:
        assert not enabled(server)
        fresh = declared.with_suffix(".new")
        fresh.write_text(without_kill(V1_SHAPE), encoding="utf-8")
        fresh.replace(declared)
        assert enabled(server)


@pytest.mark.parametrize("broken", ["flags: [", "", "just text", "namespace: va\nflags:\n- name: no key\n"])
def test_a_broken_file_keeps_the_last_good_state(declared: Path, broken: str) -> None:
    with FliptServer(file=declared) as server:
        declared.write_text(broken, encoding="utf-8")
        assert not enabled(server)
        declared.unlink()
        assert not enabled(server)
        declared.write_text(without_kill(V1_SHAPE), encoding="utf-8")
        assert enabled(server)


def test_an_edit_counts_only_after_it_has_settled(declared: Path) -> None:
    with FliptServer(file=declared, settle=0.4) as server:
        declared.write_text(without_kill(V1_SHAPE), encoding="utf-8")
        edited = time.monotonic()
        assert not enabled(server)
        wait_until(lambda: enabled(server))
        assert time.monotonic() - edited >= 0.35


def test_the_file_is_looked_at_as_often_as_told(declared: Path) -> None:
    with FliptServer(file=declared, poll_interval=3600) as server:
        declared.write_text(without_kill(V1_SHAPE), encoding="utf-8")
        assert not enabled(server)


def test_an_edit_that_keeps_size_and_time_but_not_the_inode_is_noticed(declared: Path) -> None:
    with FliptServer(file=declared) as server:
        found = declared.stat()
        fresh = declared.with_suffix(".new")
        fresh.write_text(V1_SHAPE.replace("value: false}", "value: true} "), encoding="utf-8")
        os.utime(fresh, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert fresh.stat().st_size == found.st_size
        fresh.replace(declared)
        assert enabled(server)


def test_writes_are_refused_and_missing_namespaces_are_errors(declared: Path) -> None:
    with FliptServer(file=declared) as server:
        path = "/api/v1/namespaces/va/flags/sm/rollouts"
        refused = ask(server.url, "POST", path, {"rank": 0, "threshold": {"percentage": 100}})
        assert (refused.status, refused.body["code"]) == (500, 13)
        missing = ask(server.url, "GET", "/internal/v1/evaluation/snapshot/namespace/nope")
        assert missing.status == 404
        assert ask(server.url, "GET", "/api/v1/namespaces/nope/flags/sm").status == 404
        page = ask(server.url, "GET", f"{path}?limit=1").body
        assert page["nextPageToken"] == "1"
        assert ask(server.url, "GET", f"{path}?limit=1&pageToken=1").body["rules"][0]["rank"] == 2


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SeedError):
        FliptServer(file=tmp_path / "none.yml")
