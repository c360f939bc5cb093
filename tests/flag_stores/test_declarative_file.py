"""A declarative file is read as Flipt reads it, edited in place, and is the very same file after the way back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore, path_of_url
from rollback.core import exposure
from rollback.core.flag import Constraint, Distribution, FlagRef, FlagType, Operator, Rollout, Rule, Segment
from rollback.errors import ConfigurationError, Conflict, FlagMissing, StoreRefused, StoreUnreachable
from tests.flag_stores.declarative_cases import (
    KILL,
    ON,
    SECOND,
    SM,
    V1,
    V2,
    content,
    kill,
    read,
    restore,
    soon,
    store_on,
)

VF = FlagRef("default", "va", "vf")


def flag(text: str) -> str:
    """A file whose only flag is `sm`, a boolean flag, with these further lines."""
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    return f"namespace: va\nflags:\n- key: sm\n  name: SM\n  type: BOOLEAN_FLAG_TYPE\n{lines}"


# -- reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [V1, V2])
def test_both_shapes_give_the_same_rollouts(tmp_path: Path, text: str) -> None:
    config = read(store_on(tmp_path, text)).config
    assert (config.key, config.type, config.enabled, config.defects) == ("sm", FlagType.BOOLEAN, True, ())
    assert config.rollouts == (Rollout(value=True, segments=("veterans",)), Rollout(value=True, percentage=50.0))
    assert config.segments == {}


def test_segments_come_with_their_constraints_when_asked_for(tmp_path: Path) -> None:
    v1 = read(store_on(tmp_path, V1), segments=True).config.segments
    assert v1 == {"veterans": Segment("veterans", False, (Constraint("string", "role", "eq", "veteran"),))}
    v2 = read(store_on(tmp_path, V2), segments=True).config.segments
    listed = Constraint("string", "role", "isoneof", '["veteran","caregiver"]')
    assert v2 == {"veterans": Segment("veterans", True, (listed,))}


def test_a_variant_flag_has_its_rules_and_its_default(tmp_path: Path) -> None:
    config = read(store_on(tmp_path, V2), VF).config
    assert (config.type, config.default_variant, config.variants) == (FlagType.VARIANT, "on", ("on", "control"))
    assert config.rules == (Rule(("veterans",), (Distribution("on", 100.0),)),)
    both = V2.replace("- key: control", "- key: control\n          default: true")
    assert read(store_on(tmp_path, both), VF).config.default_variant == "control", "Flipt takes the last"


@pytest.mark.parametrize(
    ("segment", "keys", "operator"),
    [
        ("a", ("a",), Operator.OR),
        ("{key: a}", ("a",), Operator.OR),
        ("[a, b]", ("a", "b"), Operator.OR),
        ("{keys: [a, b], operator: AND_SEGMENT_OPERATOR}", ("a", "b"), Operator.AND),
    ],
)
@pytest.mark.parametrize("word", ["segment", "segments"])
def test_every_spelling_of_a_rules_segments_is_read(
    tmp_path: Path, word: str, segment: str, keys: tuple[str, ...], operator: Operator
) -> None:
    text = flag(f"rules:\n- {word}: {segment}\n  rank: 1\n  distributions: []\nvariants: []").replace(
        "BOOLEAN_FLAG_TYPE", "VARIANT_FLAG_TYPE"
    )
    config = read(store_on(tmp_path, text + "segments: [{key: a}, {key: b}]\n")).config
    assert config.rules == (Rule(keys, (), operator),)
    assert config.defects == ()


@pytest.mark.parametrize("key", ["off", "on", "no", "y", "123", "1.0", "0x10", "true", "2026-11-23"])
def test_keys_are_text_whatever_they_look_like(tmp_path: Path, key: str) -> None:
    text = f"namespace: {key}\nflags:\n- {{key: {key}, variants: [{{key: {key}, default: true}}]}}\n"
    config = read(store_on(tmp_path, text), FlagRef("default", key, key)).config
    assert (config.key, config.default_variant, config.variants) == (key, key, (key,))


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("TRUE", True), ("on", True), ("Yes", True), ("'on'", True), ("off", False)]
)
def test_booleans_are_those_of_flipts_reader(tmp_path: Path, word: str, value: bool) -> None:
    config = read(store_on(tmp_path, flag(f"enabled: {word}"))).config
    assert (config.enabled, config.defects) == (value, ())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[
            ("0.4", 0.4),
            ("-5", -5.0),
            ("150", 150.0),
            ("1e1", 10.0),
            ("0x32", 50.0),
            ("0100", 64.0),
            ("08", 8.0),
            ("0b11", 3.0),
        ],
        *[("1_0", 10.0), (".5", 0.5), ("99.9999999", 99.9999999), ("", 0.0), ("~", 0.0)],
    ],
)
def test_percentages_are_those_of_flipts_reader(tmp_path: Path, text: str, number: float) -> None:
    config = read(store_on(tmp_path, flag(f"rollouts:\n- threshold:\n    percentage: {text}"))).config
    assert config.rollouts[0].percentage == number
    assert config.defects == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("enabled: maybe", "line 6, column 12: 'maybe' is neither true nor false"),
        ("enabled: 'true'", "neither true nor false"),
        ("rollouts:\n- threshold: {percentage: half}", "line 7, column 29: 'half' is no number"),
        ("rollouts:\n- threshold: {percentage: '50'}", "is no number"),
        ("rollouts:\n- threshold: {percentage: .nan}", "is no number"),
        ("rollouts:\n- threshold: {percentage: 1e31}", "is no number"),
        (f"rollouts:\n- threshold: {{percentage: {'9' * 50}}}", "is no number"),
        ("rollouts:\n- {}", "neither a threshold nor a segment"),
        ("rollouts:\n- {threshold: {percentage: 1}, segment: {keys: []}}", "both kinds"),
        ("rollouts:\n- segment: {key: gone, value: true}", "segment gone, which is not in the file"),
        ("rollouts:\n- segment: {keys: [], operator: XOR}", "'XOR' is no operator"),
        ("rollouts:\n- segment: {key: a, keys: [b]}", "both key and keys"),
    ],
)
def test_what_flipt_would_refuse_leaves_the_exposure_unknown_and_does_not_stop_a_kill(
    tmp_path: Path, text: str, why: str
) -> None:
    store = store_on(tmp_path, flag(text))
    config = read(store).config
    assert why in "; ".join(config.defects)
    assert exposure.exposure(config, ON).unknown
    assert kill(store).config.rollouts[0].description == str(KILL)
    restore(store)
    assert content(store).decode() == flag(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("VARIANT_FLAG_TYPE", "TERNARY"), "'TERNARY' is no type of flag"),
        (("variant: on", "variant: green"), "the variant green, which it does not have"),
        (("segment: a", "rank: 1"), "names no segment"),
        (("rules", "rollouts: [{}]\n  rules"), "is a rollout, and the flag's type is not BOOLEAN_FLAG_TYPE"),
    ],
)
def test_a_variant_flag_that_flipt_would_refuse_has_a_defect(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    text = (
        "namespace: va\nflags:\n- key: sm\n  type: VARIANT_FLAG_TYPE\n  variants: [{key: on}]\n"
        "  rules:\n  - segment: a\n    distributions:\n    - {variant: on, rollout: 100}\nsegments: [{key: a}]\n"
    )
    assert read(store_on(tmp_path, text)).config.defects == ()
    assert why in "; ".join(read(store_on(tmp_path, text.replace(*change))).config.defects)


def test_a_segment_that_stands_twice_or_cannot_be_read_is_never_taken_for_everybody(tmp_path: Path) -> None:
    text = flag("rollouts:\n- segment: {key: a, value: true}\n- segment: {key: b, value: true}")
    twice = read(
        store_on(tmp_path, text + "segments: [{key: a}, {key: a}, {key: b, constraints: {}}]\n"), segments=True
    )
    assert "a" not in twice.config.segments
    assert twice.config.segments["b"].match_all, "without a match type all constraints must hold"
    assert twice.config.segments["b"].constraints != ()


# -- where a flag is ---------------------------------------------------------------------------------------------


def test_several_documents_and_a_missing_namespace_which_is_default(tmp_path: Path) -> None:
    text = "---\nnamespace: va\nflags: [{key: sm}]\n---\nflags:\n- {key: sm, enabled: true}\n...\n"
    store = store_on(tmp_path, text)
    assert not read(store).config.enabled
    assert read(store, FlagRef("default", "default", "sm")).config.enabled


def test_a_folder_has_a_file_for_each_namespace(tmp_path: Path) -> None:
    (tmp_path / "va").mkdir()
    store_on(tmp_path / "va", V2, "features.yaml")
    store_on(tmp_path, "flags: [{key: x}]\n", "features.yml")
    store = DeclarativeFileFlagStore(tmp_path)
    kill(store)
    assert str(KILL) in (tmp_path / "va" / "features.yaml").read_text()
    assert read(store, FlagRef("default", "default", "x")).config.key == "x"
    with pytest.raises(FlagMissing, match="no namespace nope"):
        read(store, FlagRef("default", "nope", "sm"))
    (tmp_path / "features.yml").unlink()
    with pytest.raises(FlagMissing, match="no file for namespace"):
        read(store, FlagRef("default", "../va", "sm"))


def test_a_file_has_one_environment(tmp_path: Path) -> None:
    with pytest.raises(FlagMissing, match="no environment staging"):
        read(store_on(tmp_path), FlagRef("staging", "va", "sm"))


@pytest.mark.parametrize(
    ("ref", "said", "advice"),
    [
        (FlagRef("default", "va", "othr"), "no flag othr in namespace va", "the file has: other"),
        (FlagRef("default", "nope", "sm"), "no namespace nope", "the file has: va"),
    ],
)
def test_a_missing_flag_is_told_with_what_is_there(tmp_path: Path, ref: FlagRef, said: str, advice: str) -> None:
    with pytest.raises(FlagMissing, match=said) as missing:
        read(store_on(tmp_path), ref)
    assert advice in missing.value.next


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flags:\n- key: [sm\n  b: c", r"line 3, column 4: .*flow sequence"),
        ("flags: \t\n\t- key: sm", r"line 2, column 1: "),
        ("a: *b", r"line 1, column 4: \*b names nothing"),
        ("a: &b [*b]", r"line 1, column 8: \*b names nothing that ends before it"),
        ("a: \x07", r"line 1, column 4: "),
        ("[" * 100_000, "nested too deeply"),
        (b"flags: caf\xe9", "line 1 is not UTF-8"),
        ("just text", "line 1, column 1: there is no list of flags"),
        ("namespace: va\nflags: {key: sm}", "line 2, column 8: flags is not a list"),
        (flag("rollouts: 5"), "line 6, column 13: rollouts is not a list"),
        (flag("enabled: true\nenabled: false"), "line 7, column 3: enabled stands there a second time"),
        (V1.replace("key: other", "key: sm"), "flag sm more than once"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        read(store_on(tmp_path, text))
    assert error.value.next


def test_a_path_that_is_no_file_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist") as missing:
        read(DeclarativeFileFlagStore(tmp_path / "features.yml"))
    assert "ROLLBACK_FLIPT_URL" in missing.value.next
    (tmp_path / "dangling.yml").symlink_to("nowhere.yml")
    with pytest.raises(ConfigurationError, match="does not exist"):
        read(DeclarativeFileFlagStore(tmp_path / "dangling.yml"))
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    with pytest.raises(StoreUnreachable, match="cannot be read"):
        read(DeclarativeFileFlagStore(tmp_path / "loop.yml"))
    with pytest.raises(ConfigurationError, match="no regular file"):
        read(DeclarativeFileFlagStore("/dev/null"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:features.yml", "features.yml"),
        ("file:/a/b%20c.yml", "/a/b%20c.yml"),
        ("file:///a/b%20c.yml", "/a/b c.yml"),
        ("FILE://localhost/a", "/a"),
    ],
)
def test_addresses_of_files(url: str, path: str) -> None:
    assert path_of_url(url) == path


@pytest.mark.parametrize("url", ["file:", "file:///", "file://host/a", "https://flipt.example.org", "features.yml"])
def test_what_is_no_address_of_a_file(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the address of a file"):
        path_of_url(url)


# -- writing -----------------------------------------------------------------------------------------------------


def test_a_kill_is_two_readable_lines_above_the_first_rollout_and_its_comment(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    kill(store)
    ours = f'  - description: "{KILL}"\n    threshold: {{percentage: 100, value: false}}\n'
    assert content(store).decode() == V1.replace("  # veterans first\n", f"{ours}  # veterans first\n")


def test_a_ramp_changes_one_number(tmp_path: Path) -> None:
    store = store_on(tmp_path, V2)
    off = kill(store)
    before = content(store).decode()
    store.write(off, exposure.with_kill_at(off.config, KILL.key, 75), deadline=soon())
    assert content(store).decode() == before.replace("percentage: 100,", "percentage: 75,")


def test_only_what_this_program_changes_can_be_written(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    base = read(store)
    for other in (replace(base.config, key="x"), replace(base.config, rules=(Rule((), ()),))):
        with pytest.raises(StoreRefused, match="Only rollouts"):
            store.write(base, other, deadline=soon())
    with pytest.raises(StoreRefused, match="no revision"):
        store.write(replace(base, revision=None), exposure.kill(base.config, ON, KILL), deadline=soon())
    assert content(store) == V1.encode()


def test_an_old_reading_is_a_conflict_only_when_this_flag_has_changed(tmp_path: Path) -> None:
    store = store_on(tmp_path)
    base = read(store)
    Path(store.path).write_text(V1.replace("name: Other", "name: Another") + "# more\n")
    store.write(base, exposure.kill(base.config, ON, KILL), deadline=soon())
    assert b"Another" in content(store)
    with pytest.raises(Conflict):
        store.write(base, exposure.kill(base.config, ON, SECOND), deadline=soon())


def test_nothing_is_written_when_time_is_over_while_others_write(tmp_path: Path) -> None:
    times = iter([0.0, 1.0, 5.0])

    def disturbed(_: str, target: str) -> bool:
        raise FileNotFoundError(2, "gone in between", target)

    store = store_on(tmp_path, swap=disturbed, monotonic=lambda: next(times))
    base = store.read(SM, deadline=5.0)
    with pytest.raises(StoreUnreachable, match="nothing was written"):
        store.write(base, exposure.kill(base.config, ON, KILL), deadline=5.0)
    assert content(store) == V1.encode()


def test_the_kill_path_loads_no_library_before_a_file_is_read() -> None:
    code = (
        "import sys, rollback.adapters.flag_stores.declarative_file\n"
        "print(sorted({'yaml', 'ruamel', 'pydantic', 'httpx', 'structlog', 'ctypes'} & sys.modules.keys()))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "[]"
