"""What a process was doing when it died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rollback.core import exposure as exposures
from rollback.core.flag import FlagConfig, Polarity
from rollback.core.marker import Marker
from rollback.core.policy import SeverityPolicy
from tests.fakes.commands import Person, person
from tests.fakes.policies import critical, high, low
from tests.fakes.world import SHIPPED, World


@dataclass(frozen=True)
class Scenario:
    """`before` happens in processes that live; `act` is what dies. `policy` is the one of the case."""

    name: str
    act: Callable[[Person], object]
    before: Callable[[World], object] = lambda _world: None
    policy: SeverityPolicy = field(default_factory=critical)
    flag: FlagConfig = SHIPPED


def _disabled(world: World) -> None:
    person(world).disable()


def _reduced(world: World) -> None:
    person(world).open_high()


def _low(world: World) -> None:
    person(world).open_low()


def _left_by_another_machine(world: World) -> None:
    mark = Marker("secure-messaging-20261101T000000Z-beef", "kill-3-abc", "carol")
    world.edit(lambda config: exposures.kill(config, Polarity(), mark))


def _enable_and_break(somebody: Person) -> None:
    """Healthy until the second step is reached, broken from then on."""
    world = somebody.world
    world.probe.say("folders", lambda _round: 1.0 if world.open_buckets >= 50 else 0.0)
    somebody.enable(fix="600df1x")


def _reduce_enable_and_break(somebody: Person) -> None:
    world = somebody.world
    world.probe.say("folders", lambda _round: 1.0 if world.open_buckets >= 50 else 0.0)
    somebody.enable(fix="600df1x")


SCENARIOS = (
    Scenario("disable", Person.disable),
    Scenario("disable attached", Person.disable, _disabled),
    Scenario("enable", lambda somebody: somebody.enable(fix="600df1x"), _disabled),
    Scenario("enable and retreat", _enable_and_break, _disabled),
    Scenario("open high", Person.open_high, policy=high()),
    Scenario("high return", lambda somebody: somebody.enable(fix="600df1x"), _reduced, high()),
    Scenario("high return and retreat", _reduce_enable_and_break, _reduced, high()),
    Scenario("open low", Person.open_low, policy=low()),
    Scenario("close low", lambda somebody: somebody.enable(fix="600df1x"), _low, low()),
    Scenario("adopt", Person.adopt, _left_by_another_machine),
)
