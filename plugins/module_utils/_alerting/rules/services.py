# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that need a number or a share of healthy instances."""

from __future__ import annotations

import typing as t

from ..._consul.answer_fields import Row, to_metadata, to_object, to_rows, to_text, to_texts
from ..._consul.units import count_of, some_of
from ..judging import Judging
from ..match import Subject
from ..reader import Reader
from ..rule import Rule, RuleSet
from ..rule_group import Reading, RuleGroup
from .checks import NODE_MAINTENANCE, SERVICE_MAINTENANCE

RULES = (
    Rule("service_min_healthy", "share", is_bad_when_small=True, takes_match=True),
    Rule("service_missing"),
)


class Instance(t.NamedTuple):
    """One instance of a service. ``healthy``: all its checks and its node's are passing."""

    node: str
    service_id: str
    healthy: bool
    in_maintenance: bool
    tags: tuple[str, ...] = ()
    node_meta: t.Mapping[str, str] = {}
    service_meta: t.Mapping[str, str] = {}


class Services(t.NamedTuple):
    """The instances of the services that the rules and expectations name, by service."""

    instances: t.Mapping[str, tuple[Instance, ...]]


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _read_services(reader: Reader) -> None:
    """Read the instances of the services that the rules and expectations name, and of no others."""
    rules = [rule for rule in reader.rules.entries("service_min_healthy") if rule.enabled and rule.match]
    expected = set(reader.expected.services) if reader.rules.get("service_missing") else set()
    if not rules and not expected:
        return
    matchers = [matcher for rule in rules for matcher in rule.match]
    patterns = [pattern for matcher in matchers for pattern in matcher.patterns("service")]
    known = reader.get("/v1/catalog/services").parse(_names) if patterns else []
    exact = {name for matcher in matchers for name in matcher.exact_names("service")}
    wanted = sorted({name for name in known if any(pattern(name) for pattern in patterns)} | exact | expected)
    instances = {name: reader.get(f"/v1/health/service/{name}").parse(_instances) for name in wanted}
    reader.observation.add(Services(instances))


def _names(answer: t.Any) -> list[str]:
    tags_by_name = {name: to_texts(tags) for name, tags in to_object(answer).items()}
    return list(tags_by_name)


def _instances(rows: t.Any) -> tuple[Instance, ...]:
    return tuple(map(_instance, to_rows(rows)))


def _instance(row: Row) -> Instance:
    node, service, checks = row["Node"], row["Service"], to_rows(row["Checks"])
    service_id = to_text(service["ID"])
    maintenance_checks = (NODE_MAINTENANCE, SERVICE_MAINTENANCE + service_id)
    return Instance(
        node=to_text(node["Node"]),
        service_id=service_id,
        healthy=all(to_text(check["Status"]) == "passing" for check in checks),
        in_maintenance=any(to_text(check["CheckID"]) in maintenance_checks for check in checks),
        tags=to_texts(service.get("Tags")),
        node_meta=to_metadata(node.get("Meta")),
        service_meta=to_metadata(service.get("Meta")),
    )


# ---------------------------------------------------------------------------------------------------------------
# Judging


def judge(judging: Judging) -> None:
    """Judge services by the rules that name them, and by what is expected of the datacenter."""
    _judge_by_rules(judging)
    _judge_expected_services(judging)


def _judge_expected_services(judging: Judging) -> None:
    services, expected = judging.observation.get(Services), judging.expected.get(judging.datacenter)
    for service, wanted in sorted(expected.services.items() if services and expected else ()):
        instances = services.instances.get(service, ()) if services else ()
        healthy = sum(instance.healthy for instance in instances)
        if healthy < wanted:
            judging.add_by_rule(
                "service_missing",
                f"{healthy} of {count_of(wanted, 'expected instance')} of {service} in {judging.datacenter} healthy",
                service=service,
                service_name=service,
                detail=_not_healthy(instances),
                **_shared(instances),
            )


def _not_healthy(instances: t.Sequence[Instance]) -> str:
    failing = [instance for instance in instances if not instance.healthy and not instance.in_maintenance]
    return some_of([f"{instance.service_id} on {instance.node}" for instance in failing])


def _shared(instances: t.Sequence[Instance]) -> dict[str, t.Any]:
    """Return the tags and the service's metadata that all instances have, for routes and silences."""
    tags = [set(instance.tags) for instance in instances]
    pairs = [set(instance.service_meta.items()) for instance in instances]
    return {
        "tags": tuple(sorted(set.intersection(*tags))) if tags else (),
        "service_meta": tuple(sorted(set.intersection(*pairs))) if pairs else (),
    }


def _judge_by_rules(judging: Judging) -> None:
    """Judge services by how many instances are healthy. Each instance counts for the first rule that applies to it."""
    services = judging.observation.get(Services)
    rules = [rule for rule in judging.rules.entries("service_min_healthy") if rule.match]
    for service, instances in sorted((services.instances if services else {}).items()):
        by_rule: dict[int, list[Instance]] = {}
        for instance in instances:
            rule = judging.rules.entry_for("service_min_healthy", _subject(service, instance))
            if rule is not None and rule.match:
                by_rule.setdefault(rules.index(rule), []).append(instance)
        for number, rule in enumerate(rules):
            if number in by_rule or (rule.enabled and _is_required(judging.rules, rules[: number + 1], service)):
                _judge_service(judging, rule, service, by_rule.get(number, []))


def _subject(service: str, instance: Instance) -> Subject:
    return Subject(
        instance.node,
        service,
        tags=instance.tags,
        node_meta=instance.node_meta,
        service_meta=instance.service_meta,
    )


def _is_required(rule_set: RuleSet, entries: t.Sequence[Rule], service: str) -> bool:
    """Return whether the last of some entries requires a service without instances.

    It does when it names the service exactly, and no option and no earlier entry takes the whole service from it.
    """
    *earlier, entry = entries
    subject = Subject(service=service)
    if not any(service in matcher.exact_names("service") for matcher in entry.match):
        return False
    if rule_set.match and not any(matcher.can_match_service(service) for matcher in rule_set.match):
        return False
    if any(matcher.matches(subject) for matcher in (*rule_set.ignore, *entry.ignore)):
        return False
    return not any(matcher.matches(subject) for rule in earlier for matcher in rule.match)


def _judge_service(judging: Judging, rule: Rule, service: str, instances: t.Sequence[Instance]) -> None:
    healthy = sum(instance.healthy for instance in instances)
    in_maintenance = sum(instance.in_maintenance for instance in instances)
    total = len(instances) - in_maintenance
    value = 100.0 * healthy / max(1, total) if rule.is_percentage else float(healthy)
    severity = rule.severity_below(value)
    limit = rule.critical if severity == "critical" else rule.warning
    if severity == "none" or limit is None:
        return
    needed = f"{limit:g} %" if rule.is_percentage else f"{limit:g}"
    maintenance = f" ({in_maintenance} in maintenance)" if in_maintenance else ""
    judging.add(
        "service_min_healthy",
        severity,
        f"{healthy} of {count_of(total, 'instance')} of {service} in {judging.datacenter} healthy{maintenance}, "
        f"at least {needed} needed",
        service=service,
        service_name=service,
        detail=_not_healthy(instances),
        **_shared(instances),
    )


GROUP = RuleGroup(
    RULES,
    judge,
    (Reading("services", _read_services, ("service_min_healthy", "service_missing")),),
    needs_leader=True,
)
