"""Asks a feature's own endpoints over HTTP, as its policy says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from rollback.adapters.health_probes.answers import is_late
from rollback.adapters.health_probes.background import BackgroundLoop, Closed
from rollback.adapters.health_probes.exchange import Contact, Outcome, Target, ask, not_asked, prepare
from rollback.core.policy import Endpoint, Health
from rollback.ports import Clock, Measurement

AT_ONCE = 8
"""Endpoints that are asked at the same time; the control target comes on top."""

TURN_MARGIN = 0.5
"""Seconds that an endpoint may have to wait for its turn."""

ROUND_MARGIN = 1.0
"""Seconds by which a round may last longer than the longest timeout in it."""

IDLE_SECONDS = 1.5
"""How long a connection is kept for the next round. Servers close idle ones after 2 s (gunicorn), 5 s (Apache, Node)
or more, and reusing one that is just being closed would look like a fault of the feature."""


class HttpHealthProbe:
    """A `HealthProbe`: each endpoint is a metric; a round asks all of them at once, and the control target once.

    Harm is 1.0 or 0.0. It is 1.0 for an unexpected status (redirects are not followed: a login page is no health), a
    failed assertion, a body above 1 MB, an answer later than `latency_limit`, none within `timeout`, and a connection
    that breaks before the answer is complete. Nothing is asked twice: that would hide rare faults.

    Missing (None), never health (design, invariant 6):

    * an endpoint without address, or in a `production` feature with one that is among `defaulted` (dotted paths, as
      `policy_files.Loaded` has them; `unset` names the variables, for the reason), or with a header without value;
    * one that says that the feature is disabled (`answers.judge`);
    * what fails on our own machine: no socket left, an address or header that cannot be used, no turn in this round;
    * with a control target: the whole round in which the control gives no answer in time, or a 5xx, or one later than
      its own latency limit. The good answers as well: if only failures were left out, a feature with errors would pass
      while the control target is down, because only its good answers would count;
    * without one: a failure to connect (refused, name, route, TLS) as long as no answer has come from that server in
      this probe's life. After one it is harm, because the way there works. Any answer over HTTP counts.

    `measure` never raises, may be called from several threads, and ends within the longest timeout and 1 s. `tls`
    replaces the context that verifies against the system's authorities. Proxies come from the environment. Times are
    real ones; `clock` only dates the measurements. Nothing of an answer, no header and no address is kept or told.
    """

    def __init__(
        self,
        health: Health,
        *,
        clock: Clock,
        defaulted: Collection[str] = frozenset(),
        unset: Mapping[str, Sequence[str]] | None = None,
        production: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.metrics = tuple(endpoint.name for endpoint in health.endpoints)
        doubted = frozenset(defaulted) if production else frozenset()
        self._targets = tuple(
            prepare(endpoint, _doubt(endpoint, f"health.endpoints[{index}]", doubted, unset or {}))
            for index, endpoint in enumerate(health.endpoints)
        )
        self._control: Target | None = None
        if health.control is not None:
            doubt = _doubt(health.control, "health.control", doubted, unset or {})
            self._control = prepare(health.control, doubt)
        self.unknown: Mapping[str, str] = {one.endpoint.name: one.unknown for one in self._all() if one.unknown}
        """The targets, the control's included, that are never asked, and why."""
        self._longest = max((one.seconds for one in self._all() if not one.unknown), default=0.0)
        self._clock = clock
        self._tls = tls
        self._client: httpx.AsyncClient | None = None
        self._reached: set[str] = set()
        self._background = BackgroundLoop("health-probe")

    def measure(self) -> list[Measurement]:
        """One round: one measurement of each metric, in the order of `metrics`, at the time the round began."""
        at = self._clock.now()
        return [
            Measurement(name, at, outcome.harm, outcome.detail, outcome.seconds)
            for name, outcome in zip(self.metrics, self._outcomes(), strict=True)
        ]

    def close(self) -> None:
        """Closes the connections and ends the thread. A round that is under way ends as missing. Idempotent."""
        self._background.close(self._disconnect)

    def _all(self) -> Iterator[Target]:
        if self._control is not None:
            yield self._control
        yield from self._targets

    def _outcomes(self) -> list[Outcome]:
        if all(target.unknown for target in self._targets):
            return [not_asked(f"not asked: {target.unknown}") for target in self._targets]
        try:
            return self._background.run(self._round, within=self._longest + ROUND_MARGIN)
        except Closed:
            why = "the probe is closed"
        except TimeoutError:
            why = "the round did not end in time"
        except Exception as error:
            why = f"the round failed on this side: {type(error).__name__}"
        return [not_asked(why) for _ in self._targets]

    # -- one round, in the background ------------------------------------------------------------------------------

    async def _round(self) -> list[Outcome]:
        client = self._connected()
        ends = asyncio.get_running_loop().time() + self._longest + TURN_MARGIN
        turns = asyncio.Semaphore(AT_ONCE)
        asked = (self._ask_in_turn(client, target, turns, ends) for target in self._targets)
        control, *outcomes = await asyncio.gather(self._ask_control(client), *asked)
        answered = list(zip(self._targets, outcomes, strict=True))
        self._reached.update(target.server for target, outcome in answered if outcome.status)
        return [self._beside(control, target, outcome) for target, outcome in answered]

    def _beside(self, control: Outcome, target: Target, outcome: Outcome) -> Outcome:
        """What an outcome means beside the control target's."""
        if outcome.harm is None:
            return outcome
        if control.contact is Contact.NOT_ASKED:
            unreached = outcome.contact is Contact.NONE and target.server not in self._reached
            return outcome.missing(f"{outcome.detail}; never reached") if unreached else outcome
        return outcome.missing(f"control target out of reach: {control.detail}") if control.harm else outcome

    async def _ask_control(self, client: httpx.AsyncClient) -> Outcome:
        """Its harm says only whether the way out works: any answer in time below 500 shows that it does."""
        if self._control is None:
            return not_asked("no control target")
        outcome = await ask(client, self._control)
        if outcome.contact is not Contact.ANSWERED:
            return outcome
        late = is_late(self._control.endpoint, outcome.seconds or 0.0)
        return Outcome(outcome.contact, float(late or outcome.status >= 500), outcome.detail, outcome.status)

    async def _ask_in_turn(
        self, client: httpx.AsyncClient, target: Target, turns: asyncio.Semaphore, ends: float
    ) -> Outcome:
        """Asks when fewer than `AT_ONCE` others are asked, and only if its whole timeout fits before the round's end.

        If the end cut slow answers short and counted quick ones, the endpoint would look better than it is.
        """
        async with turns:
            if asyncio.get_running_loop().time() + target.seconds > ends:
                return not_asked("no turn before the end of the round")
            return await ask(client, target)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=self._tls or self._verifying(),
                timeout=None,  # noqa: S113 - `ask` bounds each exchange as a whole
                follow_redirects=False,
                limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        return self._client

    def _verifying(self) -> ssl.SSLContext:
        """Trusts the system's authorities; some builds of Python see none, then certifi's. Without https nobody."""
        if all(target.url.scheme != "https" for target in self._all()):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
            import certifi

            context.load_verify_locations(certifi.where())
        return context

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _doubt(endpoint: Endpoint, path: str, defaulted: frozenset[str], unset: Mapping[str, Sequence[str]]) -> str | None:
    """Why the variables in the endpoint at `path` keep it from being asked as it was meant; None when they do not."""
    if f"{path}.url" in defaulted:
        return "its address fell back to a default"
    places = (f"{path}.url", *(f"{path}.headers.{name}" for name in endpoint.headers))
    names = [name for place in places for name in unset.get(place, ())]
    return f"{', '.join(names)} is not set" if names else None
