"""A flag that lives in a declarative file: off in the file is not off for its readers until a server serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback.sandbox import FliptServer, SmApi
from tests.e2e.harness import SHIPPED_POLICIES, Cli
from tests.e2e.worlds import served, write_policies

FEATURES = """\
# Who may use what. Ask the team before you touch this.
version: "1.4"
namespace: mhv
flags:
- key: secure-messaging   # the only one that matters
  name: Secure Messaging
  type: BOOLEAN_FLAG_TYPE
  enabled: false
  rollouts:
  # first of all
  - description: veterans have it
    segment: {key: veterans, value: true}
  - description: "half of everybody else"   # quoted on purpose
    threshold: {percentage: 50, value: true}

segments:
- key: veterans
  name: Veterans
  match_type: ANY_MATCH_TYPE
  constraints:
  - {type: STRING_COMPARISON_TYPE, property: role, operator: eq, value: veteran}
# The end.
"""


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """The file."""
    path = tmp_path / "features.yml"
    path.write_text(FEATURES)
    return path


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A feature on which no real user depends."""
    return write_policies(tmp_path / "policies", production=False)


def test_on_the_file_alone_the_readers_are_unknown_and_it_is_exit_5(features: Path, policies: Path) -> None:
    write_policies(policies, production=False, prove_within="1s")  # and no waiting would change that
    cli = Cli(features.parent / "first", f"file:{features}", policies)
    said = cli.run("disable", "sm").expect(5)
    assert "readers" in said.out
    assert "unknown" in said.out
    assert str(features) in said.lines[0]
    told = cli.run("status", "sm", "--json").expect(0).json
    assert (told["exposure"], told["off_proven"]) == (0, False)
    assert "OFF since" in cli.run("status", "sm").expect(0).out
    assert "NOT PROVEN" in cli.run("status", "sm").expect(0).out
    assert features.read_text().startswith("# Who may use what."), "comments stay"
    refused = cli.run("enable", "sm", "--reason", "x", "--json", SM_API_URL="http://127.0.0.1:9").expect(5)
    assert "ROLLBACK_FLIPT_URL=file:" in refused.json["error"]["next"], "and no return starts from there"


@pytest.mark.slow
def test_with_a_flipt_that_serves_the_file_off_is_proven(features: Path, policies: Path) -> None:
    with FliptServer(file=features, settle=0.5) as flipt:
        cli = Cli(features.parent / "first", f"file:{features},{flipt.url}", policies)
        write_policies(policies, production=False, replica_lag="1s")
        told = cli.run("disable", "sm", "--json").expect(0).json
        assert (told["exposure"], told["off_proven"]) == (0, True)
        assert served(flipt.url) == 0
        assert str(features) in told["store"]


@pytest.mark.slow
def test_after_the_return_the_file_is_the_same_byte_for_byte(features: Path, policies: Path) -> None:
    with FliptServer(file=features) as flipt, SmApi(error_rate=1.0) as api:
        cli = Cli(features.parent / "first", f"file:{features},{flipt.url}", policies, {"SM_API_URL": api.url})
        before = served(flipt.url)
        cli.run("disable", "sm").expect(0)
        assert features.read_text() != FEATURES
        api.behave(error_rate=0.0)
        cli.run("enable", "sm", "--reason", "fixed").expect(0)
        assert features.read_text() == FEATURES
        assert served(flipt.url) == before


@pytest.mark.slow
def test_what_others_wrote_into_the_file_meanwhile_stays(features: Path, policies: Path) -> None:
    with FliptServer(file=features) as flipt, SmApi(error_rate=1.0) as api:
        cli = Cli(features.parent / "first", f"file:{features},{flipt.url}", policies, {"SM_API_URL": api.url})
        cli.run("disable", "sm").expect(0)
        theirs = {"# The end.": "# The end, for now.", "percentage: 50": "percentage: 40"}
        for old, new in theirs.items():
            features.write_text(features.read_text().replace(old, new))
        api.behave(error_rate=0.0)
        cli.run("enable", "sm", "--reason", "fixed").expect(0)
        expected = FEATURES
        for old, new in theirs.items():
            expected = expected.replace(old, new)
        assert features.read_text() == expected


WORDS = [("disable", "sm"), ("status", "sm"), ("enable", "sm", "--reason", "x")]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_production_feature_never_falls_back_to_a_file(features: Path, words: tuple[str, ...]) -> None:
    folder = features.parent
    cli = Cli(folder, None, SHIPPED_POLICIES)
    told = cli.run(*words, "--json").expect(2).json
    assert told["error"]["code"] == "configuration"
    assert "ROLLBACK_FLIPT_URL" in told["error"]["message"]
    assert features.read_text() == FEATURES, "although there is one in the folder"


def test_a_dotenv_file_fills_what_the_environment_lacks(features: Path, policies: Path) -> None:
    write_policies(policies, production=False, prove_within="1h")
    cli = Cli(features.parent / "first", None, policies)
    (cli.folder / ".env").write_text(f"ROLLBACK_FLIPT_URL=file:{features}\nROLLBACK_ACTOR=from-the-file\n")
    done = cli.run("disable", "sm", ROLLBACK_ACTOR="from-the-environment").expect(5)
    assert "by from-the-environment" in done.out
    assert "kill-1-" in features.read_text()


def test_a_broken_file_is_left_as_it_is_and_the_place_is_named(features: Path, policies: Path) -> None:
    broken = FEATURES.replace("flags:", "flags: [")
    features.write_text(broken)
    cli = Cli(features.parent / "first", f"file:{features}", policies)
    done = cli.run("disable", "sm", "--json").expect(2)
    assert "line" in done.json["error"]["message"]
    assert features.read_text() == broken
