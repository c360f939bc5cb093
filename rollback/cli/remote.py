"""The commands against a server: the same words, the same output, the same exit codes.

The server runs the very same command and sends what it writes as events; they are replayed here. When it is gone,
`disable` and `status` go to the flag store itself, and say so; a `disable` also when nobody knows whether the server
got it: an off twice is an off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rollback import bootstrap
from rollback.cli.screen import Screen
from rollback.errors import ConfigurationError, RollbackError, StoreError, Unsettled
from rollback.kill_settings import KillSettings, read_settings
from rollback.redaction import redact
from rollback.remote_client import Answered, Call, Limits, RemoteClient, ServerGone, token_of

URGENT = Limits(first=5.0, silence=10.0)
"""For what has another way: somebody is waiting to see it off."""

MAX_TIMEOUT = 600.0
"""Seconds; the longest that a server tries."""

_CANNOT = 503
"""The server's own word for: not by me, not now. What it says of the flag store (502, 504) is an answer."""

Here = Callable[[], int]
"""The same command, from here."""

Token = Callable[[KillSettings], str]
"""Gives our token. Raises `ConfigurationError` when there is none."""


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a call goes, and how it is shown. `here` is the way without a server; None when there is none."""

    call: Call
    screen: Screen
    feature: str
    here: Here | None = None

    @property
    def changes(self) -> bool:
        return self.call.method != "GET"


# -- the commands --------------------------------------------------------------------------------------------------


def disable(
    feature: str | None,
    flag: str | None,
    *,
    reason: str,
    no_wait: bool,
    timeout: float,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
    here: Here,
) -> int:
    """`rollback disable`; `here` turns it off on the flag store itself."""
    if not feature and not flag:
        return here()  # which says what is missing
    body = {
        "reason": redact(reason) if reason else "",
        "no_wait": no_wait,
        "timeout": min(timeout, MAX_TIMEOUT),
        "dry_run": dry_run,
    }
    call = Call("POST", f"{_place(feature, flag)}/disable", body)
    return _run(call, as_json=as_json, actor=actor, feature=feature, flag=flag, here=here)


def status(feature: str | None, flag: str | None, *, as_json: bool, here: Here) -> int:
    """`rollback status`; `here` looks at the flag store itself."""
    return _run(Call("GET", _place(feature, flag)), as_json=as_json, feature=feature, flag=flag, here=here)


def history(feature: str | None, form: str, incident: str | None, *, as_json: bool) -> int:
    """`rollback history`: the server's record."""
    path = f"{_place(feature, None)}/transitions" if feature else "/transitions"
    query = {"format": form, **({"incident": incident} if incident else {})}
    return _run(Call("GET", path, query=query), as_json=as_json, feature=feature)


def verify(flags: bool, *, as_json: bool) -> int:
    """`rollback verify`: the server's record."""
    return _run(Call("GET", "/verify", query={"flags": str(flags).lower()}), as_json=as_json)


def check(feature: str, seconds: float | None, *, as_json: bool) -> int:
    """`rollback check`: asked by the server."""
    query = {} if seconds is None else {"seconds": f"{seconds:g}"}
    return _run(Call("GET", f"{_place(feature, None)}/check", query=query), as_json=as_json, feature=feature)


def change(
    name: str,
    feature: str,
    *,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
    screen: Screen | None = None,
    token: Token = token_of,
    links: Mapping[str, str] | None = None,
    **body: object,
) -> int:
    """Any other command that changes something: `name` is its own, `body` its options; None ones are left out.

    Only `until` of a hold is sent as null: that ends it. Texts are cut and redacted before they leave this machine,
    but for `links`, which the caller has checked. `screen` shows it, None: the usual one. `token` gives our token.
    """
    sent: dict[str, object] = {"dry_run": dry_run}
    for option, value in body.items():
        if value is None and (name, option) != ("hold", "until"):
            continue
        longest = {"text": 2000, "commit": 80, "fix": 80}.get(option, 500)
        sent[option] = redact(value, max_length=longest) if isinstance(value, str) else value
    sent |= {option: link for option, link in (links or {}).items() if link}
    call = Call("POST", f"{_place(feature, None)}/{name}", sent)
    return _run(call, as_json=as_json, actor=actor, feature=feature, screen=screen, token=token)


def _place(feature: str | None, flag: str | None) -> str:
    if flag:
        return "/flags/" + "/".join(quote(part, safe="") for part in flag.split("/", 2))
    return f"/features/{quote(feature, safe='')}" if feature else "/features"


# -- one call ------------------------------------------------------------------------------------------------------


def _run(
    call: Call,
    *,
    as_json: bool,
    actor: str | None = None,
    feature: str | None = None,
    flag: str | None = None,
    here: Here | None = None,
    screen: Screen | None = None,
    token: Token = token_of,
) -> int:
    if actor is not None:
        raise ConfigurationError(
            "--actor is not taken where ROLLBACK_SERVER is set: the token says who acts.", next="Leave --actor out."
        )
    settings = read_settings(os.environ, forgiving=True)
    screen = screen or Screen(as_json=as_json or call.query.get("format") == "json")
    way = _Way(_shown(call, screen), screen, feature or "FEATURE", here)
    try:
        client = _client(settings, here, token)
        return _replay(client.call(way.call), screen)
    except KeyboardInterrupt:
        return _left(way)
    except ConfigurationError as error:
        if here is None:
            raise
        return _without(way, settings, error.message, flag)
    except Answered as answered:
        if here is None or answered.status != _CANNOT:
            raise
        return _without(way, settings, answered.message, flag)
    except ServerGone as gone:
        if here is not None:
            return _without(way, settings, gone.message, flag)
        raise _out_of_reach(way, gone) from gone


def _client(settings: KillSettings, here: Here | None, token: Token) -> RemoteClient:
    """Raises `ConfigurationError` when the settings name no server, or no token, that can be used."""
    if settings.server is None or any("TOKEN" in one and "FLIPT" not in one for one in settings.problems):
        raise ConfigurationError("; ".join(settings.problems), next="Correct it in the environment or in .env.")
    return RemoteClient(settings.server, token(settings), URGENT if here else Limits())


def _shown(call: Call, screen: Screen) -> Call:
    """The call, with how its output is to look."""
    query = {"output": "json" if screen.as_json else "text", **call.query}
    if screen.is_terminal:
        query["terminal"] = "true"
    if screen.columns is not None:
        query["columns"] = str(max(20, min(screen.columns, 500)))
    return Call(call.method, call.path, call.body, query)


def _replay(events: Iterable[Mapping[str, Any]], screen: Screen) -> int:
    """Writes what the command wrote; returns its exit code, or raises what it failed with."""
    for event in events:
        match event:
            case {"line": str(text)}:
                screen.line(text, fg=event.get("fg"), bold=bool(event.get("bold")))
            case {"warn": str(text)}:
                screen.warn(text)
            case {"live": str(text)}:
                screen.live(text)
            case {"settle": True}:
                screen.settle()
            case {"waiting": int() | float() as left, "why": str(why)}:
                screen.waiting(left, StoreError(why))
            case {"raw": str(text)}:
                screen.raw(text)
            case {"document": dict(document)}:
                screen.document(document)
            case {"problem": dict(problem)}:
                screen.settle()
                raise Answered(problem)
            case {"exit": int(code)}:
                screen.settle()
                return code
            case _:  # a newer server's
                continue
    raise ServerGone("The server's answer ended before its end.", sent=True)


# -- without the server --------------------------------------------------------------------------------------------


def _left(way: _Way) -> int:
    """Ctrl-C: what the server has begun, it ends."""
    way.screen.settle()
    if not way.changes:
        raise KeyboardInterrupt
    raise Unsettled(
        "Ctrl-C: only the watching stops here. What the server has begun goes on there.",
        next=f"See where it stands: rollback status {way.feature}",
    )


def _out_of_reach(way: _Way, gone: ServerGone) -> RollbackError:
    """For a command that has no other way."""
    if gone.sent and way.changes:
        return Unsettled(
            f"{gone.message}. The request was sent, and nobody knows what became of it.",
            next=f"Look before you send it again: rollback status {way.feature}, rollback history {way.feature}",
        )
    certain = "; certainly nothing changed" if way.changes else ""
    error = StoreError(f"{gone.message}{certain}.", next="Check ROLLBACK_SERVER and the network.")
    error.code = gone.code
    return error


def _without(way: _Way, settings: KillSettings, why: str, flag: str | None) -> int:
    """The flag store itself; where that is not set up on this machine, what can be done by hand."""
    why = why.rstrip(".")
    assert way.here is not None
    if "ROLLBACK_FLIPT_URL" in bootstrap.environment():
        way.screen.warn(f"{why}. Going to the flag store itself.")
        return way.here()
    error = StoreError(
        f"{why}. Nothing is known to have changed, and ROLLBACK_FLIPT_URL, the flag store itself, is not set here.",
        next="Set ROLLBACK_FLIPT_URL and its token, and run the same command again.",
    )
    error.code = ServerGone.code
    if not way.changes:
        raise error
    steps = _by_hand(settings, way.feature, flag)
    if way.screen.as_json:
        told = {"code": error.code, "message": error.message, "next": error.next, "manual_steps": steps}
        way.screen.document({"error": told, "exit": error.exit_code, "exposure": None, "off_proven": False})
        return error.exit_code
    if steps:
        way.screen.line("By hand, now:", bold=True)
    for number, step in enumerate(steps, 1):
        first, *rest = step.splitlines()
        way.screen.line(f"{number}. {first}")
        for line in rest:
            way.screen.line(f"   {line}")
    raise error


def _by_hand(settings: KillSettings, feature: str, flag: str | None) -> list[str]:
    """The manual steps, when a policy (or the flag's own name) says which flag it is; else none."""
    from rollback.flag_reference import read_by_flag, read_flag_reference
    from rollback.runbook import manual_steps

    try:
        environ = bootstrap.environment()
        if flag:
            return manual_steps(read_by_flag(settings.policies, flag, environ))
        return manual_steps(read_flag_reference(settings.policies, feature, environ))
    except RollbackError:
        return []
