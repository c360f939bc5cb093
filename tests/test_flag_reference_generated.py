"""The kill path's reader against the strict one, on generated files, whole and broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.errors import ConfigurationError
from rollback.flag_reference import FlagReference, read_flag_reference
from rollback.policy_files import load_feature
from tests.test_flag_reference import BROKEN, written

POLICIES = Path(__file__).parent.parent / "policies"
SECRET = "s3cret-value-4711"
BY_HAND = "rollback disable --flag"

SM = """\
feature: secure-messaging
name: Secure Messaging
aliases: [sm]
production: true
flag:
  namespace: mhv
  key: secure-messaging
"""

KEYS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.,-]{0,12}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
LINES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="$"), min_size=1)
DURATIONS = st.one_of(
    st.integers(0, 10_000), st.floats(0, 1000), st.integers(0, 500).map("{}ms".format), st.just("${POLL:-90}")
)
CLIENTS = st.one_of(
    st.fixed_dictionaries({"name": LINES, "kind": st.just("polling"), "interval": DURATIONS}),
    st.fixed_dictionaries({"name": LINES, "kind": st.sampled_from(["streaming", "server_side"])}),
)
POLARITIES = st.one_of(
    st.fixed_dictionaries({}, optional={"on": st.sampled_from([True, False, "${ON:-false}"])}),
    st.fixed_dictionaries({"on_variants": st.lists(KEYS, min_size=1, max_size=3)}),
)
FLAGS = st.builds(
    lambda key, polarity: key | polarity,
    st.fixed_dictionaries({"namespace": KEYS, "key": KEYS}, optional={"environment": KEYS}),
    POLARITIES,
)
SURFACES = st.fixed_dictionaries({"name": LINES, "reached": st.booleans(), "because": LINES})
FEATURES = st.fixed_dictionaries(
    {"feature": NAMES, "name": LINES, "production": st.booleans(), "flag": FLAGS},
    optional={
        "aliases": st.lists(NAMES, max_size=3),
        "clients": st.lists(CLIENTS, min_size=1, max_size=3),
        "replica_lag": DURATIONS,
        "prove_within": st.integers(1, 10_000),
        "surfaces": st.lists(SURFACES, max_size=3),
        "cohort": st.fixed_dictionaries({"segments": st.lists(KEYS, min_size=1, max_size=3)}),
        "tier": st.integers(1, 3),
    },
)


@contextmanager
def one_file(text: str, key: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield written(Path(folder), text, f"{key}.yaml")


def as_yaml(data: dict[str, Any]) -> str:
    """A section a line: JSON is YAML."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in data.items())


@settings(max_examples=100)
@given(FEATURES)
def test_on_valid_files_both_readers_agree(data: dict[str, Any]) -> None:
    with one_file(as_yaml(data), data["feature"]) as folder:
        strict = load_feature(folder / "features" / f"{data['feature']}.yaml", {}).policy
        found = read_flag_reference(folder, data["feature"], {})
    assert (found.feature, found.name, found.aliases) == (strict.feature, strict.name, strict.aliases)
    assert (found.ref, found.polarity, found.production) == (strict.flag_ref, strict.polarity, strict.production)
    assert timedelta(seconds=found.poll_interval_seconds or 0) == strict.poll_interval
    assert timedelta(seconds=found.prove_within_seconds) == strict.proof_time
    assert timedelta(seconds=found.replica_lag_seconds) == strict.replica_lag
    assert (found.streaming, found.clients_known) == (strict.streaming, bool(strict.clients))
    assert [tuple(one) for one in found.not_covered] == [(one.name, one.because) for one in strict.not_covered]
    assert found.cohort == (() if strict.cohort is None else strict.cohort.segments)
    assert bool(found.problems) is (not strict.clients)


JUNK = st.one_of(
    st.sampled_from(list(BROKEN.values())),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30).map(lambda text: f"junk: {text}\n"),
    st.recursive(st.none() | st.booleans() | st.integers(), lambda x: st.lists(x, max_size=3), max_leaves=5).map(
        lambda value: f"clients: {json.dumps(value)}\nsurfaces: {json.dumps(value)}\naliases: {json.dumps(value)}\n"
    ),
)


@settings(max_examples=150)
@given(FEATURES, st.lists(JUNK, min_size=1, max_size=3), st.integers(0, 10))
def test_a_file_broken_elsewhere_still_gives_the_right_flag(data: dict[str, Any], junk: list[str], place: int) -> None:
    if any("\nflag" in text or "\nfeature" in text or "\r" in text for text in junk):
        return
    lines = as_yaml(data).splitlines(keepends=True)
    broken = "".join([*lines[:place], *junk, *lines[place:]])
    with one_file(as_yaml(data), data["feature"]) as folder:
        whole = read_flag_reference(folder, data["feature"], {})
    with one_file(broken, data["feature"]) as folder:
        found = read_flag_reference(folder, data["feature"], {})
    assert (found.feature, found.ref, found.polarity) == (whole.feature, whole.ref, whole.polarity)
    assert isinstance(found, FlagReference)


@settings(max_examples=150)
@given(st.text(max_size=200) | st.lists(st.sampled_from(["flag: {", "}", "key: a", "\n", " ", "- ", "'"])).map("".join))
def test_no_text_makes_it_fail_in_another_way_than_a_refusal(text: str) -> None:
    with one_file(text.encode("utf-8", "replace").decode(), "sm") as folder:
        try:
            found = read_flag_reference(folder, "sm", {})
        except ConfigurationError:
            return
    assert found.ref.flag_key


# -- cost ---------------------------------------------------------------------------------------


HEAVY = {"pydantic", "yaml", "rfc8785", "httpx", "click", "rich", "structlog", "tenacity", "decimal", "difflib"}


def test_the_kill_path_imports_nothing_heavy_and_yaml_only_when_it_reads() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import rollback.flag_reference, rollback.runbook\n"
        f"heavy = {HEAVY!r} - before\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        f"rollback.flag_reference.read_flag_reference({str(POLICIES)!r}, 'sm', {{}})\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=POLICIES.parent,
        env={**os.environ, "PYTHONPATH": str(POLICIES.parent)},
    )
    assert ran.stdout.splitlines() == ["[]", "['yaml']"]
