"""v1's management API: the rollouts of boolean flags and the rules of variant flags.

Ranks are numbers that a client chooses: 0 and negative ones are taken as they come, a taken one is refused.
Deleting or ordering numbers anew from 1; ordering some ids only leaves the others where they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from rollback.sandbox import v1_documents as documents
from rollback.sandbox.model import (
    AND,
    OR,
    SEGMENT,
    THRESHOLD,
    Distribution,
    Environment,
    Flag,
    Namespace,
    Rollout,
    Rule,
    utc_now,
)
from rollback.sandbox.routing import Call, Route, route
from rollback.sandbox.rpc import Body, RpcError, bad_field, empty_field, invalid, not_found, quoted
from rollback.sandbox.v1_flags import NAMESPACED, Backing, flag_of, namespace_key, required

Ranked = TypeVar("Ranked", Rollout, Rule)


def segments_asked(body: Body) -> tuple[tuple[str, ...], str]:
    """The segments that a request names and how they combine. RpcError (400) for none or both spellings."""
    one, several = body.text("segmentKey"), body.texts("segmentKeys")
    if not one and not several:
        raise empty_field("segmentKey or segmentKeys")
    if one and several:
        raise bad_field("segmentKey or segmentKeys", "only one can be present")
    keys = (one,) if one else tuple(dict.fromkeys(several))
    return keys, body.choice("segmentOperator", (OR, AND)) if len(keys) > 1 else OR


def renumbered(things: tuple[Ranked, ...], ids: tuple[str, ...]) -> tuple[Ranked, ...]:
    """Those with these ids get the ranks 1, 2, 3 …; unknown ids use up a number, others keep theirs."""
    ranks = {one: rank for rank, one in enumerate(ids, 1)}
    now = utc_now()
    return tuple(replace(one, rank=ranks[one.id], updated_at=now) if one.id in ranks else one for one in things)


class TargetingV1:
    """Answers for rollouts, rules and distributions."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    def routes(self) -> list[Route]:
        """Its paths. `order` stands before the ids, which it would otherwise be taken for."""
        rollouts = f"{NAMESPACED}/flags/{{flag}}/rollouts"
        rules = f"{NAMESPACED}/flags/{{flag}}/rules"
        shares = f"{rules}/{{rule}}/distributions"
        return [
            route("GET", rollouts, self._list_rollouts),
            route("POST", rollouts, self._create_rollout),
            route("PUT", f"{rollouts}/order", self._order_rollouts),
            route("GET", f"{rollouts}/{{id}}", self._get_rollout),
            route("PUT", f"{rollouts}/{{id}}", self._update_rollout),
            route("DELETE", f"{rollouts}/{{id}}", self._delete_rollout),
            route("GET", rules, self._list_rules),
            route("POST", rules, self._create_rule),
            route("PUT", f"{rules}/order", self._order_rules),
            route("GET", f"{rules}/{{id}}", self._get_rule),
            route("PUT", f"{rules}/{{id}}", self._update_rule),
            route("DELETE", f"{rules}/{{id}}", self._delete_rule),
            route("POST", shares, self._create_distribution),
            route("PUT", f"{shares}/{{id}}", self._update_distribution),
            route("DELETE", f"{shares}/{{id}}", self._delete_distribution),
        ]

    def _list_rollouts(self, call: Call) -> Any:
        """A flag that is not there has a list without rollouts, as in the real one."""
        ns, flag = self._listed(call)
        rollouts = () if flag is None else flag.rollouts
        entries = [(one.id, documents.rollout_document(one, call["flag"], ns)) for one in rollouts]
        return documents.page("rules", entries, call.request.query, self._backing.declarative)

    def _get_rollout(self, call: Call) -> Any:
        """Looks for the id in the whole namespace, as the real one does."""
        ns = namespace_key(call)
        namespace = self._backing.namespace(ns)
        for flag in () if namespace is None else namespace.flags.values():
            for one in flag.rollouts:
                if one.id == call["id"]:
                    return documents.rollout_document(one, flag.key, ns)
        raise self._missing("rollout", call)

    def _create_rollout(self, call: Call) -> Any:
        ns, body = namespace_key(call), call.body
        rank = body.whole("rank")
        rollout = self._rollout(body, rank)

        def change(environment: Environment) -> Environment:
            namespace = environment.namespaces.get(ns)
            found = None if namespace is None else namespace.flags.get(call["flag"])
            taken = () if found is None else (one.rank for one in found.rollouts)
            if rank in taken:
                raise invalid(f"rank number: {rank} already exists")
            if rollout.type == SEGMENT and (namespace is None or found is None or missing(namespace, rollout)):
                key = rollout.segment_keys[0] if body_names_one(body) else ""
                raise not_found(f'flag "{ns}/{call["flag"]} or segment {key}"')
            flag = flag_of(namespace, ns, call["flag"])
            assert namespace is not None
            return environment.with_namespace(namespace.with_flag(flag.with_rollouts((*flag.rollouts, rollout))))

        self._backing.write(change)
        return documents.rollout_document(rollout, call["flag"], ns)

    def _update_rollout(self, call: Call) -> Any:
        """Replaces description and rule; a description that is not given is erased (measured)."""
        body = call.body
        asked = self._rollout(body, 0, updating=True)

        def change(flag: Flag) -> Flag:
            known = next((one for one in flag.rollouts if one.id == call["id"]), None)
            if known is None:
                raise self._missing("rollout", call)
            if known.type != asked.type:
                raise invalid(
                    f"cannot change type of rollout: have {quoted(known.type)} attempted {quoted(asked.type)}"
                )
            fresh = replace(asked, id=known.id, rank=known.rank, created_at=known.created_at, updated_at=utc_now())
            return flag.with_rollouts(tuple(fresh if one.id == known.id else one for one in flag.rollouts))

        try:
            self._backing.write_flag(namespace_key(call), call["flag"], change)
        except RpcError as error:
            raise self._missing("rollout", call) if error.message.startswith("flag ") else error from error
        return self._get_rollout(call)

    def _delete_rollout(self, call: Call) -> Any:
        """Deleting what is not there is fine, and numbers the rest from 1 all the same."""

        def change(flag: Flag) -> Flag:
            left = tuple(one for one in flag.rollouts if one.id != call["id"])
            return flag.with_rollouts(renumbered(left, tuple(one.id for one in left)))

        self._change_if_there(call, change)
        return {}

    def _order_rollouts(self, call: Call) -> Any:
        ids = call.body.texts("rolloutIds")
        if len(ids) < 2:
            raise bad_field("rolloutIds", "must contain atleast 2 elements")
        self._change_if_there(call, lambda flag: flag.with_rollouts(renumbered(flag.rollouts, ids)))
        return {}

    def _list_rules(self, call: Call) -> Any:
        ns, flag = self._listed(call)
        rules = () if flag is None else flag.rules
        entries = [(one.id, documents.rule_document(one, call["flag"], ns)) for one in rules]
        return documents.page("rules", entries, call.request.query, self._backing.declarative)

    def _get_rule(self, call: Call) -> Any:
        flag, rule = self._rule(call)
        return documents.rule_document(rule, flag.key, namespace_key(call))

    def _create_rule(self, call: Call) -> Any:
        ns, body = namespace_key(call), call.body
        keys, operator = segments_asked(body)
        rank = body.whole("rank")
        if rank <= 0:
            raise bad_field("rank", "must be greater than 0")
        rule = Rule(keys, rank, operator)

        def change(environment: Environment) -> Environment:
            namespace = environment.namespaces.get(ns)
            flag = None if namespace is None else namespace.flags.get(call["flag"])
            if namespace is None or flag is None or missing(namespace, rule):
                where = quoted(f"{ns}/{call['flag']}")
                raise not_found(f"flag {where} or segment {quoted(f'{ns}/' + body.text('segmentKey'))}")
            return environment.with_namespace(namespace.with_flag(flag.with_rules((*flag.rules, rule))))

        self._backing.write(change)
        return documents.rule_document(rule, call["flag"], ns)

    def _update_rule(self, call: Call) -> Any:
        keys, operator = segments_asked(call.body)
        self._write_rule(
            call,
            call["id"],
            lambda rule, _: replace(rule, segment_keys=keys, operator=operator, updated_at=utc_now()),
        )
        return self._get_rule(call)

    def _delete_rule(self, call: Call) -> Any:
        def change(flag: Flag) -> Flag:
            left = tuple(one for one in flag.rules if one.id != call["id"])
            return flag.with_rules(renumbered(left, tuple(one.id for one in left)))

        self._change_if_there(call, change)
        return {}

    def _order_rules(self, call: Call) -> Any:
        ids = call.body.texts("ruleIds")
        if len(ids) < 2:
            raise bad_field("ruleIds", "must contain atleast 2 elements")
        self._change_if_there(call, lambda flag: flag.with_rules(renumbered(flag.rules, ids)))
        return {}

    def _create_distribution(self, call: Call) -> Any:
        share = self._share(call)

        def change(rule: Rule, flag: Flag) -> Rule:
            if flag.variant(share.variant_id) is None:
                raise self._no_share(call, share)
            return replace(rule, distributions=(*rule.distributions, share))

        self._write_rule(call, call["rule"], change, lambda: self._no_share(call, share))
        return documents.distribution_document(share, call["rule"])

    def _update_distribution(self, call: Call) -> Any:
        asked = self._share(call)
        changed: list[Distribution] = []

        def change(rule: Rule, _flag: Flag) -> Rule:
            for one in rule.distributions:
                if one.id == call["id"] and one.variant_id == asked.variant_id:
                    changed.append(replace(one, rollout=asked.rollout, updated_at=utc_now()))
            if not changed:
                raise not_found(f"distribution {quoted(call['id'])}")
            fresh = tuple(changed[0] if one.id == changed[0].id else one for one in rule.distributions)
            return replace(rule, distributions=fresh)

        self._write_rule(call, call["rule"], change, lambda: self._no_share(call, asked))
        return documents.distribution_document(changed[0], call["rule"])

    def _delete_distribution(self, call: Call) -> Any:
        required(call.request.query.get("variantId", ""), "variantId")
        self._write_rule(
            call,
            call["rule"],
            lambda rule, _: replace(
                rule, distributions=tuple(one for one in rule.distributions if one.id != call["id"])
            ),
        )
        return {}

    def _listed(self, call: Call) -> tuple[str, Flag | None]:
        """The namespace's key and the flag whose list is asked for; None when it is not there."""
        ns = namespace_key(call)
        namespace = self._backing.namespace(ns)
        return ns, None if namespace is None else namespace.flags.get(call["flag"])

    def _rollout(self, body: Body, rank: int, updating: bool = False) -> Rollout:
        threshold, segment = body.nested("threshold"), body.nested("segment")
        description = body.text("description")
        if threshold is not None:
            percentage = threshold.number("percentage")
            if not 0 <= percentage <= 100:
                raise bad_field("threshold.percentage", "must be within range [0, 100]")
            value = threshold.flag("value")
            return Rollout(THRESHOLD, rank, value, percentage=percentage, description=description)
        if segment is None:
            raise (bad_field("rule", "invalid rollout rule type") if updating else invalid("rollout rule is missing"))
        keys, operator = segments_asked(segment)
        value = segment.flag("value")
        return Rollout(SEGMENT, rank, value, segment_keys=keys, operator=operator, description=description)

    def _change_if_there(self, call: Call, change: Any) -> None:
        """Change the flag; a flag that is not there is no error, as no row of a database matches."""
        ns = namespace_key(call)

        def apply(environment: Environment) -> Environment:
            namespace = environment.namespaces.get(ns)
            flag = None if namespace is None else namespace.flags.get(call["flag"])
            if namespace is None or flag is None:
                return environment
            return environment.with_namespace(namespace.with_flag(change(flag)))

        self._backing.write(apply)

    def _rule(self, call: Call) -> tuple[Flag, Rule]:
        namespace = self._backing.namespace(namespace_key(call))
        for flag in () if namespace is None else namespace.flags.values():
            for rule in flag.rules:
                if rule.id == call["id"]:
                    return flag, rule
        raise self._missing("rule", call)

    def _write_rule(self, call: Call, rule_id: str, change: Any, otherwise: Any = None) -> None:
        """Change one rule of the call's flag. RpcError (404), or what `otherwise` makes, when it is missing."""

        def apply(flag: Flag) -> Flag:
            if not any(rule.id == rule_id for rule in flag.rules):
                raise otherwise() if otherwise else not_found(f"rule {quoted(f'{namespace_key(call)}/{rule_id}')}")
            return flag.with_rules(tuple(change(rule, flag) if rule.id == rule_id else rule for rule in flag.rules))

        self._backing.write_flag(namespace_key(call), call["flag"], apply)

    def _share(self, call: Call) -> Distribution:
        body = call.body
        variant_id, rollout = required(body.text("variantId"), "variantId"), body.number("rollout")
        if rollout < 0:
            raise bad_field("rollout", "must be greater than or equal to '0'")
        if rollout > 100:
            raise bad_field("rollout", "must be less than or equal to '100'")
        return Distribution(variant_id, rollout)

    @staticmethod
    def _no_share(call: Call, share: Distribution) -> RpcError:
        return not_found(
            f"variant {quoted(share.variant_id)}, rule {quoted(call['rule'])}, "
            f"flag {quoted(call['flag'])} in namespace {quoted(namespace_key(call))}"
        )

    @staticmethod
    def _missing(kind: str, call: Call) -> RpcError:
        return not_found(f"{kind} {quoted(f'{namespace_key(call)}/' + call['id'])}")


def missing(namespace: Namespace, thing: Rollout | Rule) -> bool:
    """Does it name a segment that is not there?"""
    return any(key not in namespace.segments for key in thing.segment_keys)


def body_names_one(body: Body) -> bool:
    """Does the request spell its segment as `segmentKey`?"""
    segment = body.nested("segment")
    return segment is not None and bool(segment.text("segmentKey"))
