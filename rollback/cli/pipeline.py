"""`rollback ci`: the step of a pipeline, its summary, and its outputs for later steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from rollback.cli.options import actor_option, dry_run_option, has_server, json_option
from rollback.cli.screen import Screen
from rollback.errors import RollbackError

if TYPE_CHECKING:
    from rollback.kill_settings import KillSettings


@click.command(
    epilog="""\b
Examples:
  rollback ci sm --fix "$GITHUB_SHA"
  rollback ci sm --fix "$CI_COMMIT_SHA" --until full --dotenv return.env
"""
)
@click.argument("feature")
@click.option("--fix", metavar="COMMIT", required=True, help="The commit that was deployed: 7 hex digits at least.")
@click.option("--run-url", metavar="URL", default="", help="The page of the run, for the record.")
@click.option("--by", metavar="WHO", default="", help="Who started the deploy; recorded as claimed.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for the record. Default: the deployed fix.")
@click.option(
    "--until",
    type=click.Choice(["resolved", "full"]),
    default="resolved",
    show_default=True,
    help="End when monitoring has ended, or at 100 % (then `serve` has to watch).",
)
@click.option("--unwatched", metavar="REASON", default="", help="Go on although no server watches beside this job.")
@click.option("--summary", metavar="FILE", help="Write the summary (Markdown) there. Default: $GITHUB_STEP_SUMMARY.")
@click.option("--dotenv", metavar="FILE", help="Write the outputs there, as a dotenv report of GitLab.")
@click.option("--id-token-variable", metavar="NAME", help="The variable with GitLab's token for the server.")
@actor_option
@dry_run_option
@json_option
def ci(feature: str, summary: str | None, dotenv: str | None, as_json: bool, **said: Any) -> int:
    """The step of a pipeline: fix deployed → gate → ladder → monitored, in plain lines.

    It records the deploy, and acts only when a responder linked this commit (`rollback fix FEATURE COMMIT`) or the
    policy lets every deploy of the workflow count. Without a server that watches beside it, it ends before the first
    step. Run again, it goes on where it was.

    Exit 0: monitored; or no open case, or another commit: recorded. Exit 3: this fix failed already, or another job
    is at it. Exit 4: the fix does not fix, or not enough evidence, or nobody else watches. Others as for `enable`.
    """
    screen = JobScreen(as_json=as_json, is_github=os.environ.get("GITHUB_ACTIONS") == "true" and not as_json)
    job = _remote if has_server() else _here
    screen.begin(f"rollback ci {feature}")
    try:
        code = job(feature, said, screen)
        failed: RollbackError | None = None
    except RollbackError as error:
        code, failed = error.exit_code, error
    except BaseException as error:  # later steps hear of it all the same
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        document = {"outcome": "It was ended before its end.", **screen.told, "exit": code, "verdict": _verdict(code)}
        _tell({"feature": feature, **document}, summary, dotenv, screen, said)
        raise
    document = {"feature": feature, **screen.told, "exit": code}
    if failed is not None and "outcome" not in document:
        document |= {"outcome": failed.message, "next": failed.next, "verdict": _verdict(code)}
    screen.end(f"exit {code}: {document.get('outcome', '')}")
    _tell(document, summary, dotenv, screen, said)
    if failed is not None:
        raise failed
    screen.print_document()
    return code


class JobScreen(Screen):
    """A screen for the log of a job: no live line, its document kept, and on GitHub one group around the details.

    No line becomes a command to the runner, whoever wrote the text in it (docs.github.com, "Workflow commands").
    """

    def __init__(self, *, as_json: bool, is_github: bool) -> None:
        super().__init__(as_json=as_json)
        self.is_terminal = False
        self.told: Mapping[str, Any] = {}
        self._is_github = is_github

    def line(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:
        """A line of the log."""
        super().line(_no_command(text), fg=fg, bold=bold)

    def warn(self, text: str) -> None:
        """A warning."""
        super().warn(_no_command(text))

    def document(self, document: Mapping[str, Any]) -> None:
        """Kept for the summary, and for `print_document`."""
        self.told = dict(document)

    def print_document(self) -> None:
        """The one document of `--json`."""
        if self.as_json:
            super().document(self.told)

    def begin(self, title: str) -> None:
        """From here on the details."""
        if self._is_github:
            click.echo(f"::group::{title.replace('%', '%25')}")

    def end(self, words: str) -> None:
        """The details are over; `words` stand behind them, where everybody sees them."""
        if self._is_github:
            click.echo("::endgroup::")
            self.line(words)


def _no_command(text: str) -> str:
    """The text without what a runner would take for a command: `::name::` and `##[name]` at its beginning."""
    return f"· {text}" if text.lstrip().startswith(("::", "##[")) else text


# -- the two ways ------------------------------------------------------------------------------------------------------


def _here(feature: str, said: Mapping[str, Any], screen: JobScreen) -> int:
    from rollback.cli.signals import listen
    from rollback.commands.pipeline import Request, run
    from rollback.core.deploys import Deploy

    deploy = Deploy(said["fix"], run_url=said["run_url"], by=said["by"], workflow=workflow_of(os.environ))
    request = Request(
        feature,
        deploy,
        reason=said["reason"],
        unwatched=said["unwatched"],
        until_full=said["until"] == "full",
        actor=said["actor"],
        dry_run=said["dry_run"],
    )
    return run(request, screen, listen)


def _remote(feature: str, said: Mapping[str, Any], screen: JobScreen) -> int:
    from rollback.cli import remote
    from rollback.core.deploys import is_commit, is_run_url
    from rollback.errors import ConfigurationError

    if not is_commit(said["fix"]):
        raise ConfigurationError("--fix is no commit: it must be 7 to 64 hex digits.")
    if said["run_url"] and not is_run_url(said["run_url"]):
        raise ConfigurationError("--run-url is no plain link: https://host/path, without user, password and query.")
    return remote.change(
        "ci",
        feature,
        actor=said["actor"],
        dry_run=said["dry_run"],
        as_json=screen.as_json,
        screen=screen,
        token=_token_by(said["id_token_variable"]),
        fix=said["fix"],
        by=said["by"],
        reason=said["reason"],
        until=said["until"],
        unwatched=said["unwatched"],
        links={"run_url": said["run_url"], "workflow": workflow_of(os.environ)},
    )


def _token_by(variable: str | None) -> Callable[[KillSettings], str]:
    """How this job gets its token: the server's own when there is one, else the job's own system gives it."""

    def token(settings: KillSettings) -> str:
        from rollback.cli.id_token import id_token
        from rollback.remote_client import token_of

        if not (settings.token or settings.token_file or settings.token_command):
            given = id_token(os.environ, str(settings.server), variable)
            if given is not None:
                return given
        return token_of(settings)

    return token


def workflow_of(environ: Mapping[str, str]) -> str:
    """Which workflow this job says it is, with host and ref; empty when it does not say. Nobody has signed that.

    GitHub: GITHUB_WORKFLOW_REF on GITHUB_SERVER_URL. GitLab: CI_CONFIG_PATH of CI_PROJECT_PATH on CI_SERVER_HOST.
    """
    github = environ.get("GITHUB_WORKFLOW_REF", "")
    if github:
        host = environ.get("GITHUB_SERVER_URL", "https://github.com").partition("://")[2].rstrip("/")
        return f"{host}/{github}"
    project, host = environ.get("CI_PROJECT_PATH", ""), environ.get("CI_SERVER_HOST", "")
    if not project or not host:
        return ""
    kind = "tags" if environ.get("CI_COMMIT_TAG") else "heads"
    file = environ.get("CI_CONFIG_PATH") or ".gitlab-ci.yml"
    return f"{host}/{project}//{file}@refs/{kind}/{environ.get('CI_COMMIT_REF_NAME', '')}"


# -- what is left behind -----------------------------------------------------------------------------------------------


def _verdict(code: int) -> str:
    from rollback.commands.pipeline_document import verdict_of

    return verdict_of(code).value


def _tell(
    document: Mapping[str, Any], summary: str | None, dotenv: str | None, screen: JobScreen, said: Mapping[str, Any]
) -> None:
    """Summary and outputs, where they are wanted; what cannot be written is a warning, and no failure of the job."""
    from rollback import job_summary

    text = job_summary.render(document, said["run_url"])
    for path, content, mode in (
        (summary, text, "w"),
        (None if summary else os.environ.get("GITHUB_STEP_SUMMARY"), text, "a"),
        (os.environ.get("GITHUB_OUTPUT"), job_summary.output_lines(document), "a"),
        (dotenv, job_summary.dotenv_lines(document), "w"),
    ):
        if not path:
            continue
        try:
            with open(path, mode, encoding="utf-8") as file:
                file.write(content)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            screen.warn(f"{path} cannot be written: {why}. The job goes on without it.")
