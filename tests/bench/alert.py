"""From an alert to "a streaming flipt-client sees off": our server, Debian's `webhook` with curl and jq, and no tool.

All three turn off flags of the same stand-in, in turns, and one flipt-client sees them all. The last is the least that
anything can take: a read and a put by a client that is connected already.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.kill import SCRIPT
from tests.bench.processes import ROOT, settings
from tests.bench.storm import Answers, request_of, storm

LIMITS = {"a bare read and put": 1.5, "webhook with curl and jq": 1.0}
STORM_LIMIT = 3.0
SECRET = "0123456789abcdef-of-the-benchmark"
NAMESPACE = "mhv"
WAITS = 30.0


@dataclass(frozen=True, slots=True)
class AlertTimes:
    """Medians of the ratios of neighbouring runs (ours to theirs), and each one's median in milliseconds."""

    to_bare: float
    to_webhook: float
    ms: Mapping[str, float]


def compare_alert(rounds: int, put_delay: float = 0.08) -> AlertTimes:
    """Runs the three in turns, so that the machine's mood hits all alike."""
    for program in ("webhook", "bash", "curl", "jq"):
        if shutil.which(program) is None:
            raise SystemExit(f"The comparison needs {program}.")
    ways = ("ours", "webhook", "bare")
    flags = [f"{way}-{number}" for number in range(rounds + 1) for way in ways]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(_stand_in(folder, put_delay, flags))
        client = stack.enter_context(_Client.of(url, flags))
        server = stack.enter_context(_ours(folder, url, [flag for flag in flags if flag.startswith("ours")]))
        hook = stack.enter_context(_webhook(folder, url))
        bare = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAITS)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):  # the first round warms up
            for way in ways:
                flag = f"{way}-{number}"
                began = time.monotonic()
                match way:
                    case "ours":
                        _alert(server, flag)
                    case "webhook":
                        _post(f"{hook}/hooks/off", {"flag": flag})
                    case _:
                        _read_and_put(bare, flag)
                taken[way].append(client.saw(flag) - began)
        bare.close()
    runs = {way: times[1:] for way, times in taken.items()}
    return AlertTimes(
        statistics.median(ours / theirs for ours, theirs in zip(runs["ours"], runs["bare"], strict=True)),
        statistics.median(ours / theirs for ours, theirs in zip(runs["ours"], runs["webhook"], strict=True)),
        {way: statistics.median(times) * 1000 for way, times in runs.items()},
    )


# -- the three ways --------------------------------------------------------------------------------------------------


def _alert(url: str, flag: str) -> None:
    _post(f"{url}/alerts/datadog", _body(flag), {"X-Rollback-Secret": SECRET})


def _request(url: str, monitor: str) -> bytes:
    body = json.dumps(_body(monitor)).encode()
    return request_of(urlsplit(url).netloc, "/alerts/datadog", body, {"X-Rollback-Secret": SECRET})


def _body(flag: str) -> dict[str, str]:
    now = str(int(time.time() * 1000))
    return {
        "id": f"event-{flag}",
        "alert_id": flag,
        "alert_cycle_key": f"cycle-{flag}",
        "alert_transition": "Triggered",
        "alert_type": "error",
        "alert_priority": "P1",
        "date": now,
        "last_updated": now,
        "tags": "env:prod",
        "event_title": "errors above tolerance",
    }


def _post(url: str, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=WAITS)
    connection.request(
        "POST", place.path, json.dumps(document), {"Content-Type": "application/json", **(headers or {})}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status >= 300:
        raise SystemExit(f"{url} answered {answer.status}")


def _read_and_put(connection: http.client.HTTPConnection, flag: str) -> None:
    base = f"/api/v2/environments/default/namespaces/{NAMESPACE}/resources"
    connection.request("GET", f"{base}/flipt.core.Flag/{flag}")
    told = json.loads(connection.getresponse().read())
    kill = {"type": "THRESHOLD_ROLLOUT_TYPE", "description": "off", "threshold": {"percentage": 100, "value": False}}
    payload = {**told["resource"]["payload"], "rollouts": [kill, *told["resource"]["payload"].get("rollouts", [])]}
    body = json.dumps({"key": flag, "revision": told["revision"], "payload": payload})
    connection.request("PUT", base, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"the put was answered with {answer.status}")


# -- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def _line(process: subprocess.Popen[str], text: str) -> str:
    """The first line with this text."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise SystemExit(f"a process ended before it said {text!r}")


@contextmanager
def _stand_in(folder: Path, put_delay: float, flags: list[str]) -> Iterator[str]:
    told = [{"key": flag, "name": flag, "type": "BOOLEAN_FLAG_TYPE", "enabled": True} for flag in flags]
    seed = folder / "seed.json"
    seed.write_text(json.dumps({"namespaces": {NAMESPACE: {"flags": told, "segments": []}}}))
    command = [sys.executable, "-m", "rollback.sandbox", "flipt", "--api", "v2", "--port", "0", "--seed", str(seed)]
    with _process([*command, "--put-delay", str(put_delay)], cwd=ROOT) as process:
        yield str(json.loads(_line(process, "url"))["url"])


class _Client:
    """A streaming flipt-client in a process of its own, and what it has seen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._seen: dict[str, float] = {}
        self._changed = threading.Condition()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    @contextmanager
    def of(cls, url: str, flags: list[str]) -> Iterator[_Client]:
        """A client that has all the flags, and sees them on."""
        with _process([sys.executable, "-m", "tests.bench.streaming_client", url, NAMESPACE, *flags], cwd=ROOT) as one:
            ready = json.loads(_line(one, "ready"))
            if ready["on"] != len(flags):
                raise SystemExit(f"the client sees {ready['on']} flags on, of {len(flags)}")
            yield cls(one)

    def saw(self, flag: str) -> float:
        """When it saw the flag off, on the monotonic clock."""
        with self._changed:
            if not self._changed.wait_for(lambda: flag in self._seen, WAITS):
                raise SystemExit(f"{flag} is not off after {WAITS:g} s")
            return self._seen[flag]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._changed:
                self._seen[told["flag"]] = told["at"]
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class StormTimes:
    """10,000 signed alerts over 50 connections: how many a second, the slowest answers, and critical ones among them.

    `critical` is the ratio of the median times to off, in the storm and in idleness; `slowest` that of the slowest in
    the storm.
    """

    per_second: float
    p99_seconds: float
    critical: float
    slowest: float
    lost: int


def compare_storm(count: int = 10_000, connections: int = 50, put_delay: float = 0.08) -> StormTimes:
    """A storm of alerts that no rule is about, and five critical ones spread over it, against five in idleness."""
    in_idleness, in_storm = [f"ours-idle-{number}" for number in range(6)], [f"ours-storm-{n}" for n in range(5)]
    flags = [*in_idleness, *in_storm]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(_stand_in(folder, put_delay, flags))
        client = stack.enter_context(_Client.of(url, flags))
        server = stack.enter_context(_ours(folder, url, flags))
        idle = [_seconds_to_off(server, client, flag) for flag in in_idleness][1:]  # the first one warms up
        requests = [_request(server, f"nothing-{number}") for number in range(count)]
        reached = {count * (place + 1) // (len(in_storm) + 1): threading.Event() for place in range(len(in_storm))}
        found: list[Answers] = []
        sender = threading.Thread(
            target=lambda: found.append(
                storm(
                    server,
                    requests,
                    connections=connections,
                    on_answer=lambda answers: reached[answers].set() if answers in reached else None,
                )
            )
        )
        whole = time.monotonic()
        sender.start()
        stormy = []
        for flag, event in zip(in_storm, reached.values(), strict=True):
            event.wait(WAITS)
            stormy.append(_seconds_to_off(server, client, flag))
        if not sender.is_alive():
            raise SystemExit("the storm was over before the last critical alert had turned its feature off")
        sender.join()
        answers = found[0]
        return StormTimes(
            count / (time.monotonic() - whole),
            answers.percentile(0.99),
            statistics.median(stormy) / statistics.median(idle),
            max(stormy) / statistics.median(idle),
            count - len(answers.with_status(202)),
        )


def _seconds_to_off(server: str, client: _Client, flag: str) -> float:
    began = time.monotonic()
    _alert(server, flag)
    return client.saw(flag) - began


@contextmanager
def _ours(folder: Path, url: str, flags: list[str]) -> Iterator[str]:
    policies = folder / "policies"
    (policies / "features").mkdir(parents=True)
    for severity in ("critical", "high", "low"):
        shutil.copy(ROOT / "policies" / f"{severity}.yaml", policies)
    for flag in flags:
        (policies / "features" / f"{flag}.yaml").write_text(
            f"feature: {flag}\nname: {flag}\nproduction: true\nflag: {{namespace: {NAMESPACE}, key: {flag}}}\n"
            "clients: [{name: App, kind: streaming}]\n"
            f'alerts: [{{name: errors, source: datadog, monitors: ["{flag}"], severity: critical}}]\n'
        )
    (policies / "automation.yaml").write_text(
        "sources: {datadog: {kind: datadog, authentication: secret_header, secrets: [DATADOG_SECRET]}}\n"
        "storm_brake: {features: 1000, window: 10m}\n"
    )
    environment = {
        **settings(url, folder),
        "ROLLBACK_POLICIES": str(policies),
        "ROLLBACK_STATE": str(folder / "rollback.state.db"),
        "DATADOG_SECRET": SECRET,
    }
    command = [sys.executable, "-m", "rollback", "serve", "--port", "0"]
    with (folder / "serve.log").open("w") as log, _process(command, cwd=folder, env=environment, stderr=log) as process:
        yield _line(process, "listening on").rsplit("listening on ", 1)[1].strip().rstrip(".")


@contextmanager
def _webhook(folder: Path, url: str) -> Iterator[str]:
    script = folder / "off.sh"
    script.write_text("#!/usr/bin/env bash\n" + SCRIPT.replace("secure-messaging", "$2"))
    script.chmod(0o755)
    hook = {
        "id": "off",
        "execute-command": str(script),
        "pass-arguments-to-command": [{"source": "string", "name": url}, {"source": "payload", "name": "flag"}],
    }
    hooks = folder / "hooks.json"
    hooks.write_text(json.dumps([hook]))
    port = _free_port()
    with _process(["webhook", "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port)], stderr=subprocess.DEVNULL):
        _until_open(port)
        yield f"http://127.0.0.1:{port}"


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _until_open(port: int) -> None:
    import socket

    until = time.monotonic() + WAITS
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            threading.Event().wait(0.02)
        else:
            return
    raise SystemExit("webhook does not listen")
