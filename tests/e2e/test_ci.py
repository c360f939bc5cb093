"""`rollback ci`: a pipeline says what it has deployed, and a fix comes back on evidence, with nobody at a terminal."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import on_v1, on_v2
from tests.e2e.harness import Running
from tests.e2e.serving import serving, with_alerts
from tests.e2e.worlds import World, served, write_policies

FIX = "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d"
OTHER = "b7d1f00dcafe4c5a7b6f1e2d3c4b5a69788f9e0d"
RUN = "https://github.com/org/repo/actions/runs/19283746550"
ALONE = ("--unwatched", "no server yet; a person looks on")
WORKFLOW = "org/repo/.github/workflows/deploy.yml@refs/heads/main"


def off(world: World, *, link: str = FIX[:9]) -> None:
    """The feature is off, and a responder has linked its fix."""
    world.cli.run("disable", "sm").expect(0)
    if link:
        world.cli.run("fix", "sm", link).expect(0)


def job(*more: str, fix: str = FIX) -> tuple[str, ...]:
    """The words of the job's command."""
    return ("ci", "sm", "--fix", fix, "--run-url", RUN, "--by", "dev", *more)


def names(world: World) -> list[str]:
    return [row["name"] for row in world.cli.history()]


def outputs(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


# -- how it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_fix_comes_back_and_the_summary_tells_it(world: World) -> None:
    off(world)
    world.mend()
    summary, out = world.folder / "summary.md", world.folder / "out"
    done = world.cli.run(*job(*ALONE, "--summary", str(summary)), GITHUB_OUTPUT=str(out)).expect(0)
    assert served(world.flipt.url) > 0
    assert names(world)[-1] == "monitoring_ended"
    assert "\r" not in done.all, "plain lines"
    text = summary.read_text()
    assert text.startswith("## Secure Messaging is back\n")
    assert "| exit code | 0: done |" in text
    assert f"<{RUN}>" in text
    assert "folders" in text
    assert "enough" in text
    assert "monitoring ended" in text
    told = outputs(out)
    assert (told["state"], told["exposure"], told["exit"], told["verdict"]) == ("resolved", "100", "0", "back")
    assert told["incident"].startswith("secure-messaging-")


@pytest.mark.slow
def test_the_deploy_is_in_the_record_with_its_run_and_who_and_no_person_acted(world: World) -> None:
    off(world)
    world.mend()
    world.cli.run(*job(*ALONE)).expect(0)
    row = next(row for row in world.cli.history() if row["name"] == "deploy_recorded")
    assert row["data"] == {"commit": FIX, "run_url": RUN, "by": "dev"}
    assert row["authenticated"] == "ci"
    assert "unwatched_accepted" in names(world)
    world.cli.run("verify").expect(0)


@on_v2
def test_a_false_fix_ends_in_4_and_is_not_tried_again(world: World) -> None:
    off(world)
    first = world.cli.run(*job(*ALONE, "--json")).expect(4).json
    assert first["verdict"] == "not_healthy"
    assert first["evidence"][0]["bad"] > 0
    before, attempts = world.flag, names(world).count("return_started")
    again = world.cli.run(*job(*ALONE)).expect(3)
    assert "was tried in this case and failed" in again.err
    assert "harmful" in again.err, "with what was seen then"
    assert world.flag == before
    assert names(world).count("return_started") == attempts
    world.mend()
    world.cli.run(*job(*ALONE, fix=FIX[:12])).expect(3)
    world.cli.run("enable", "sm", "--reason", "the probe was wrong", "--dry-run").expect(0)


@on_v1
def test_an_unrelated_deploy_changes_nothing_and_says_so(world: World) -> None:
    off(world)
    world.mend()
    before, writes = world.flag, world.writes
    done = world.cli.run(*job(*ALONE, fix=OTHER)).expect(0)
    assert "is not the fix of case" in done.out
    assert f"rollback fix secure-messaging {OTHER}" in done.out, "and how it becomes one"
    assert world.flag == before
    assert world.writes == writes
    assert names(world)[-2:] == ["deploy_recorded", "code_changed"], "evidence is about what runs"
    again = world.cli.run(*job(*ALONE, fix=OTHER)).expect(0)
    assert "is not the fix of case" in again.out
    assert names(world).count("code_changed") == 1, "the same code again is no change"
    assert world.cli.status()["fix"] == FIX[:9]


@on_v1
def test_a_deploy_without_any_linked_fix_brings_nothing_back(world: World) -> None:
    off(world, link="")
    world.mend()
    told = world.cli.run(*job(*ALONE, "--json")).expect(0).json
    assert (told["verdict"], told["state"], told["fix"]) == ("recorded", "disabled", None)
    assert served(world.flipt.url) == 0


@on_v2
def test_without_a_case_the_deploy_is_recorded_and_nothing_is_to_do(world: World) -> None:
    before = world.flag
    told = world.cli.run(*job("--json")).expect(0).json
    assert (told["outcome"], told["verdict"]) == ("nothing to do", "nothing_to_do")
    assert told["timeline"][0]["what"] == "deploy_recorded"
    assert world.flag == before
    assert world.writes == 0
    row = world.cli.history()[-1]
    assert (row["name"], row["incident"]) == ("deploy_recorded", None)


@on_v2
@pytest.mark.parametrize("fix", ["3f2c1a", "main", "v1.2.3", "3f2c1ab;rm", "g" * 40])
def test_what_is_no_commit_is_refused_and_not_repeated(world: World, fix: str) -> None:
    done = world.cli.run("ci", "sm", "--fix", fix).expect(2)
    assert "7 to 64 hex digits" in done.err
    assert fix not in done.all
    assert not world.cli.journal.exists() or "deploy_recorded" not in world.cli.journal.read_text(errors="replace")


@on_v2
def test_somebodys_number_is_no_commit(world: World) -> None:
    done = world.cli.run("ci", "sm", "--fix", "123456789").expect(2)
    assert "123456789" not in done.all


@on_v2
def test_a_link_with_a_secret_in_it_is_refused_and_not_repeated(world: World) -> None:
    done = world.cli.run("ci", "sm", "--fix", FIX, "--run-url", "https://ci.example.org/1?token=hush").expect(2)
    assert "hush" not in done.all


# -- whose deploy counts -------------------------------------------------------------------------------------------


def any_from(world: World, **more: Any) -> None:
    """The policy lets every deploy of a workflow count."""
    words = "".join(f", {name}: {value}" for name, value in more.items())
    path = world.cli.policies / "critical.yaml"
    path.write_text(
        path.read_text() + f"deploys: {{any_from: [github.com/{WORKFLOW.partition('@')[0]}]{words}}}\n", "utf-8"
    )


@on_v2
def test_a_workflow_that_is_merely_claimed_is_refused(world: World) -> None:
    any_from(world)
    off(world, link="")
    world.mend()
    done = world.cli.run(*job(*ALONE), GITHUB_WORKFLOW_REF=WORKFLOW).expect(3)
    assert "nobody has signed" in done.err
    assert served(world.flipt.url) == 0
    assert world.cli.status()["fix"] is None


@pytest.mark.slow
@on_v2
def test_a_claimed_workflow_counts_where_the_policy_says_so(world: World) -> None:
    any_from(world, allow_unauthenticated="true")
    off(world, link="")
    world.mend()
    world.cli.run(*job(*ALONE), GITHUB_WORKFLOW_REF=WORKFLOW.replace("org/", "fork/")).expect(0)
    assert served(world.flipt.url) == 0, "another repository's"
    world.cli.run(*job(*ALONE), GITHUB_WORKFLOW_REF=WORKFLOW).expect(0)
    assert served(world.flipt.url) > 0
    row = next(row for row in world.cli.history() if row["name"] == "fix_deployed")
    assert row["after"]["fixed_by"] == "dev", "who started the deploy does not approve it"


# -- nobody else watches -------------------------------------------------------------------------------------------


@on_v2
def test_without_a_second_watcher_it_says_so_and_ends_before_the_first_step(world: World) -> None:
    off(world)
    world.mend()
    before = world.flag
    done = world.cli.run(*job()).expect(4)
    assert done.out.index("No server watches") < done.out.index("step 1 of")
    assert "--unwatched" in done.out
    assert world.flag == before, "nobody was let in"
    assert "step_raised" not in names(world)
    told = world.cli.run(*job("--json")).expect(4).json
    assert told["verdict"] == "unwatched"
    kept = world.cli.run(*job(*ALONE)).expect(0)
    assert "from an earlier run" in kept.out, "what it collected counts"


@pytest.mark.slow
@on_v2
def test_beside_a_server_it_needs_no_reason_and_hands_the_watch_over(world: World) -> None:
    with_alerts(world.cli.policies)
    with serving(world.cli):
        off(world)
        world.mend()
        done = world.cli.run(*job("--until", "full")).expect(0)
        assert "No server watches" not in done.out
        assert "serve watches it from here on" in done.out
    assert "unwatched_accepted" not in names(world)


@pytest.mark.slow
@on_v2
def test_with_a_cohort_it_lets_that_in_and_ends_before_the_first_step(world: World) -> None:
    feature = world.cli.policies / "features" / "secure-messaging.yaml"
    feature.write_text(feature.read_text() + "cohort: {segments: [veterans]}\n")
    policy = world.cli.policies / "critical.yaml"
    policy.write_text(policy.read_text() + "use_cohort: true\n")
    off(world)
    world.mend()
    before = world.flag
    done = world.cli.run(*job()).expect(4)
    assert "the cohort is let in" in done.out
    assert "Retreat" in done.out
    assert served(world.flipt.url) == 0
    assert world.flag["rollouts"][-2:] == before["rollouts"][-2:], "the team's own are as they were"
    rows = [row for row in world.cli.history() if row["name"] == "step_raised"]
    assert [row["after"]["settled_held"] for row in rows] == [100]


# -- ended, killed, run again --------------------------------------------------------------------------------------


def climbing(world: World) -> Running:
    """A job that has let the first tenth in and watches it for long."""
    write_policies(world.cli.policies, soak="20s", deadline="60s")
    policy = world.cli.policies / "critical.yaml"
    policy.write_text(policy.read_text().replace("minimum_soak: 20s", "minimum_soak: 50ms", 1))
    off(world)
    world.mend()
    running = world.cli.start(*job(*ALONE), GITHUB_OUTPUT=str(world.folder / "out"))
    running.said("step 10 %")
    assert served(world.flipt.url) > 0
    return running


@pytest.mark.slow
@pytest.mark.parametrize(("api", "number"), [("v1", signal.SIGINT), ("v2", signal.SIGTERM)])
def test_a_cancelled_job_retreats(world: World, number: signal.Signals) -> None:
    running = climbing(world)
    running.signal(number)
    done = running.result().expect(130)
    assert "Retreat" in done.out
    assert served(world.flipt.url) == 0
    told = outputs(world.folder / "out")
    assert (told["verdict"], told["exit"], told["exposure"]) == ("interrupted", "130", "0")


@pytest.mark.slow
@pytest.mark.crash
@on_v2
def test_after_kill_minus_9_the_next_run_settles_and_goes_on_with_its_evidence(world: World) -> None:
    running = climbing(world)
    incident = world.cli.status()["incident"]
    running.kill()
    assert served(world.flipt.url) > 0
    again = world.cli.start(*job(*ALONE))
    again.said("died")
    again.said("from an earlier run")
    again.said("step 10 %")
    assert world.cli.status()["incident"] == incident
    again.signal()
    again.result().expect(130)
    assert served(world.flipt.url) == 0
    attempts = {row["data"]["attempt"] for row in world.cli.history() if row["name"] == "evidence"}
    assert attempts == {1}, "the same fix is no new attempt"


@pytest.mark.slow
@on_v1
def test_of_two_jobs_one_acts_and_the_other_names_it(world: World) -> None:
    running = climbing(world)
    done = world.cli.run(*job(*ALONE, "--json")).expect(3).json
    assert str(running.pid) in done["error"]["message"]
    assert running.is_running
    assert served(world.flipt.url) > 0, "the first one goes on"
    running.signal()
    running.result().expect(130)


# -- what is left behind -------------------------------------------------------------------------------------------


@on_v2
def test_github_gets_groups_and_nobody_else_does(world: World) -> None:
    summary = world.folder / "step.md"
    summary.write_text("what a step before has written\n")
    done = world.cli.run(*job(), GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary)).expect(0)
    assert done.lines[0] == "::group::rollback ci sm"
    assert "::endgroup::" in done.lines
    assert done.lines[-1].startswith("exit 0:")
    text = summary.read_text()
    assert text.startswith("what a step before has written\n## Secure Messaging has no open case\n")
    assert "::" not in world.cli.run(*job()).expect(0).out
    told = world.cli.run(*job("--json"), GITHUB_ACTIONS="true").expect(0)
    assert told.json["exit"] == 0, "one document, no group"


@on_v2
def test_files_that_cannot_be_written_are_a_warning(world: World) -> None:
    nowhere = str(world.folder / "no" / "such" / "folder")
    words = job("--summary", nowhere, "--dotenv", nowhere)
    done = world.cli.run(*words, GITHUB_OUTPUT=str(world.folder)).expect(0)
    assert done.err.count("cannot be written") == 2, "each file once"


@on_v2
def test_gitlab_gets_a_dotenv_report_with_no_name_of_a_setting(world: World) -> None:
    report = world.folder / "return.env"
    off(world)
    world.cli.run(*job("--dotenv", str(report), fix=OTHER)).expect(0)
    told = outputs(report)
    assert set(told) == {f"RETURN_{name}" for name in ("INCIDENT", "STATE", "EXPOSURE", "EXIT", "VERDICT")}
    assert (told["RETURN_STATE"], told["RETURN_VERDICT"], told["RETURN_EXIT"]) == ("disabled", "recorded", "0")


@on_v2
def test_an_error_is_in_the_outputs_too(world: World) -> None:
    out, summary = world.folder / "out", world.folder / "summary.md"
    world.cli.run("ci", "nosuch", "--fix", FIX, "--summary", str(summary), GITHUB_OUTPUT=str(out)).expect(2)
    assert outputs(out) == {"incident": "", "state": "", "exposure": "", "exit": "2", "verdict": "failed"}
    assert "was not brought back" in summary.read_text()


@on_v2
def test_a_dry_run_writes_nothing_and_says_whether_the_deploy_counts(world: World) -> None:
    off(world)
    before = {path.name: path.read_bytes() for path in world.cli.folder.iterdir() if path.suffix != ".api"}
    done = world.cli.run(*job("--dry-run")).expect(0)
    assert "counts as the fix" in done.out
    other = world.cli.run(*job("--dry-run", fix=OTHER)).expect(0)
    assert "do nothing" in other.out
    after = {path.name: path.read_bytes() for path in world.cli.folder.iterdir() if path.suffix != ".api"}
    assert after == before
