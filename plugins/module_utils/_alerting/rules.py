# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges a observation: which rules find something wrong. Pure, so that a module and an agent judge alike.

What explains something else stands alone: without a leader checks are frozen and say nothing, a dead node's checks are not
listed one by one, and what is in maintenance is never counted as failing.
"""

from __future__ import annotations

import collections
import typing as t
from dataclasses import replace

from .._consul.units import count_of, human_age, some_of
from .finding import Finding, Judgement, Unknown
from .match import Subject
from .observation import NODE_MAINTENANCE, SERF_CHECK, SERVICE_MAINTENANCE, Check, Instance, Observation
from .ruleset import Expected, Rule, RuleSet

CLOCKS_DIFFER_S = 300.0  # more than this is no matter of two clocks


def judge(observation: Observation, rules: RuleSet, expected: t.Mapping[str, Expected]) -> Judgement:
    """Return everything that is wrong with one datacenter."""
    judging = _Judging(observation, rules, expected)
    if observation.unreachable:
        # A certificate that has expired is reason enough for not being let in.
        if observation.certificate_expiry is None or observation.certificate_expiry > observation.time:
            judging.unreachable()
        judging.certificates()
    else:
        judging.cluster()
        if observation.leader_problem is None:
            judging.raft()
            judging.checks()
            judging.services()
        judging.wide_area()
        judging.certificates()
    if not observation.nameless:
        judging.snapshots()
    return judging.judgement


class _Judging:
    def __init__(self, observation: Observation, rules: RuleSet, expected: t.Mapping[str, Expected]) -> None:
        self.observation = observation
        self.rules = rules
        self.every_expected = expected
        self.expected = expected.get(observation.datacenter)
        self.judgement = Judgement(unknown=list(observation.unknown))
        self.reported: set[str] = set()  # servers that a finding is about already

    def find(self, rule: str, severity: str, summary: str, **more: t.Any) -> bool:
        """Add a finding; return whether there is one now."""
        if severity != "none":
            self.judgement.findings.append(Finding(rule, severity, self.observation.datacenter, summary, **more))
        return severity != "none"

    def simple(self, name: str, summary: str, **more: t.Any) -> bool:
        """Add a finding of a rule that has one severity, if the rule is on; return whether there is one now."""
        rule = self.rules.get(name)
        return rule is not None and self.find(name, rule.severity, summary, **more)

    def unknown(self, what: str, reason: str) -> None:
        """Note what cannot be judged; a rule that would have said why is switched off."""
        self.judgement.unknown.append(Unknown(self.observation.datacenter, what, reason))

    # -- the datacenter itself

    def unreachable(self) -> None:
        datacenter, problem = self.observation.datacenter, self.observation.unreachable
        if not self.simple(
            "consul_unreachable",
            f"Consul of {datacenter} cannot be asked: {problem}",
            advice="Nothing else is known of this datacenter.",
        ):
            self.unknown("everything", problem)

    def cluster(self) -> None:
        observation = self.observation
        if observation.leader_problem is not None and not self.simple(
            "no_leader",
            f"{observation.datacenter} has no leader: nothing can be written, and checks are frozen",
            detail=observation.leader_problem,
            advice="Start the servers that are down; while an election runs this passes within seconds.",
        ):
            self.unknown("checks", f"there is no leader ({observation.leader_problem})")
        if observation.visible_servers == 0:
            self.simple(
                "acl_token_blind",
                f"the token sees no Consul server in {observation.datacenter}, so it sees no failures either",
                advice='It needs node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }.',
            )
            return
        self._quorum()
        self._servers()
        self._versions()

    def _quorum(self) -> None:
        rule, servers = self.rules.get("quorum_margin"), self.observation.servers
        if rule is None or servers is None:
            return
        alive = {server.name for server in servers if server.alive}
        replicas = {server.name for server in servers if server.replica}
        voters = set(self.observation.voters or alive)
        # Judged against the voters that Raft knows and against those that should be there: dead servers are removed from
        # Raft after some 15 seconds, and what is left then calls itself healthy. Who is back votes only after ten more.
        here, raft = len(alive & voters), len(voters)
        margin, should, what = here - (raft // 2 + 1), raft, "servers"
        loses = margin
        present = here
        if self.expected is not None:
            names = set(self.expected.names) - replicas
            wanted = len(names) if self.expected.names else self.expected.count - len(replicas)
            voting = len(alive & voters & names) if names else here
            if voting < wanted and (here == raft or voting - (wanted // 2 + 1) <= margin):
                margin, should, what, here = voting - (wanted // 2 + 1), wanted, "expected servers", voting
                present = len(alive & names) if names else len(alive - replicas)
        if here >= should:
            return
        if not self.observation.voters:
            loses = margin
        means = (
            "quorum is lost"
            if loses < 0
            else "one more failure loses quorum"
            if loses == 0
            else f"{count_of(loses + 1, 'more failure')} would lose quorum"
        )
        votes = f", {here} of them with a vote" if present > here else ""
        self.find(
            "quorum_margin",
            rule.undercut(margin, inclusive=True),
            f"{present} of {should} {what} alive in {self.observation.datacenter}{votes}: {means}",
            detail=f"alive: {', '.join(sorted(alive)) or 'none'}",
            advice="Bring the missing servers back before anything else is restarted.",
        )

    def _servers(self) -> None:
        servers = self.observation.servers
        if servers is None:
            return
        alive = {server.name for server in servers if server.alive}
        dead_servers = {server.name for server in servers if not server.alive}
        datacenter = self.observation.datacenter
        if self.expected is not None and not self.expected.names:
            if len(alive) < self.expected.count:
                missing = self.expected.count - len(alive)
                dead = f" ({', '.join(sorted(dead_servers))})" if dead_servers else ""
                if self.simple("server_missing", f"{count_of(missing, 'server')} of {datacenter} missing{dead}"):
                    self.reported |= dead_servers
            if len(alive) > self.expected.count:
                self.simple(
                    "server_unexpected",
                    f"{len(alive)} servers in {datacenter}, {self.expected.count} expected",
                    detail=", ".join(sorted(alive)),
                )
            return
        names = set(self.expected.names) if self.expected else {server.name for server in servers}
        for name in sorted(names - alive):
            state = "failed" if name in dead_servers else "gone: Consul does not even list it any more"
            if self.simple("server_missing", f"server {name} of {datacenter} is {state}", node=name):
                self.reported.add(name)
        for name in sorted(alive - names):
            self.simple(
                "server_unexpected",
                f"server {name} of {datacenter} is not among the expected ones",
                node=name,
                advice="Add it to expect, or find out who started it.",
            )

    def _versions(self) -> None:
        versions: dict[str, list[str]] = {}
        for server in self.observation.servers or ():
            if server.alive and server.version:
                versions.setdefault(server.version, []).append(server.name)
        if len(versions) > 1:
            listed = "; ".join(
                f"{version} on {', '.join(sorted(names))}" for version, names in sorted(versions.items())
            )
            self.simple(
                "version_skew",
                f"{len(versions)} versions of Consul among the servers of {self.observation.datacenter}",
                detail=listed,
            )

    # -- raft and autopilot

    def raft(self) -> None:
        observation = self.observation
        raft = observation.raft or []
        leader = next((server for server in raft if server.leader), None)
        sick = sorted(server.name for server in raft if not server.healthy)
        if observation.autopilot_healthy is False and not (sick and set(sick) <= self.reported):
            self.simple(
                "autopilot_unhealthy",
                f"autopilot calls {observation.datacenter} unhealthy" + (f": {', '.join(sick)}" if sick else ""),
                detail="consul operator autopilot state says more.",
            )
        for server in raft:
            if server.leader or server.name in self.reported:
                continue
            lagging = self.rules.get("raft_last_contact")
            if lagging is not None:
                self.find(
                    "raft_last_contact",
                    lagging.exceeded(server.last_contact_s),
                    f"server {server.name} of {observation.datacenter} has not heard from the leader for {server.last_contact_s:.1f} s",
                    node=server.name,
                    advice="ObserveOptions at its load, its disk, and the network between it and the leader.",
                )
            trailing = self.rules.get("raft_trailing_logs")
            if trailing is not None and leader is not None:
                behind = leader.last_index - server.last_index
                self.find(
                    "raft_trailing_logs",
                    trailing.exceeded(behind),
                    f"server {server.name} of {observation.datacenter} is {behind:,} log entries behind the leader",
                    node=server.name,
                )

    # -- checks

    def checks(self) -> None:
        observation = self.observation
        if observation.checks is None:
            return
        frozen_nodes = {check.node for check in observation.checks if check.check == NODE_MAINTENANCE}
        frozen_services = {
            (check.node, check.check[len(SERVICE_MAINTENANCE) :])
            for check in observation.checks
            if check.check.startswith(SERVICE_MAINTENANCE)
        }
        self.judgement.maintenance += [f"{observation.datacenter}: node {node}" for node in frozen_nodes]
        self.judgement.maintenance += [
            f"{observation.datacenter}: service {service} on {node}"
            for node, service in frozen_services
            if node not in frozen_nodes
        ]
        down = {
            check.node: check
            for check in observation.checks
            if check.check == SERF_CHECK and check.status == "critical"
        }
        others = collections.Counter(check.node for check in observation.checks if check.check != SERF_CHECK)
        explained = {
            node
            for node, check in down.items()
            if node not in frozen_nodes and (node in self.reported or self._node_down(check, others[node]))
        }
        for check in observation.checks:
            if check.node in frozen_nodes or (check.node, check.service_id) in frozen_services:
                continue
            if check.node not in explained and (check.check, check.node in down) != (SERF_CHECK, True):
                self._check(check)

    def _check(self, check: Check) -> None:
        rule = self._rule_for("check_status", self._subject(check))
        if rule is None:
            return
        datacenter = self.observation.datacenter
        where = (
            f"{check.service} on {check.node} of {datacenter}"
            if check.service
            else f"node {check.node} of {datacenter}"
        )
        self.find(
            "check_status",
            rule.severities.get(check.status, "none"),
            f"{where}: check {check.name or check.check} is {check.status}",
            node=check.node,
            service=check.service_id,
            check=check.check,
            since_index=check.index,
            detail=" ".join(check.output.split())[:300],
        )

    def _node_down(self, check: Check, others: int) -> bool:
        """Add a finding if anybody cares for the node itself or for something that runs there; return whether there is one."""
        node = self._subject(check)
        services = [
            replace(node, service=name, tags=tags, service_meta=meta)
            for name, tags, meta in self.observation.on_dead_nodes.get(check.node, [])
        ]
        rules = (self._rule_for("node_down", subject) for subject in (node, *services))
        rule = next((one for one in rules if one is not None), None)
        if rule is None:
            return False
        more = f"; {count_of(others, 'other check')} on it not listed" if others else ""
        return self.find(
            "node_down",
            rule.severity,
            f"node {check.node} of {self.observation.datacenter} is down{more}",
            node=check.node,
            check=SERF_CHECK,
            since_index=check.index,
            detail=" ".join(check.output.split())[:300],
        )

    def _subject(self, check: Check) -> Subject:
        observation = self.observation
        return Subject(
            check.node,
            check.service,
            check.check,
            check.name,
            check.tags,
            observation.node_meta.get(check.node, {}),
            observation.service_meta.get((check.node, check.service_id), {}),
        )

    def _rule_for(self, name: str, subject: Subject) -> Rule | None:
        """Return the first entry of a rule that is about a subject, None when there is none or it is switched off."""
        rules = self.rules
        if rules.match and not any(one.matches(subject) for one in rules.match):
            return None
        if any(one.matches(subject) for one in rules.ignore):
            return None
        for rule in rules.every(name):
            if rule.match and not any(one.matches(subject) for one in rule.match):
                continue
            if any(one.matches(subject) for one in rule.ignore):
                continue
            return rule if rule.enabled else None
        return None

    def services(self) -> None:
        """Judge services by how many instances are healthy, each instance by the first rule that is about it."""
        rules = [rule for rule in self.rules.every("service_min_healthy") if rule.match]
        for service, instances in sorted((self.observation.services or {}).items()):
            judged: dict[int, list[Instance]] = {}
            for one in instances:
                subject = Subject(
                    one.node, service, tags=one.tags, node_meta=one.node_meta, service_meta=one.service_meta
                )
                rule = self._rule_for("service_min_healthy", subject)
                if rule is not None and rule.match:
                    judged.setdefault(rules.index(rule), []).append(one)
            for number, rule in enumerate(rules):
                if number in judged or (rule.enabled and self._must_be_there(rules[: number + 1], service)):
                    self._service(rule, service, judged.get(number, []))

    def _must_be_there(self, rules: t.Sequence[Rule], service: str) -> bool:
        """Tell whether the last of some rules names a service, and nothing takes all of that service out of its hands."""
        named = Subject(service=service)
        if not any(service in one.exact("service") for one in rules[-1].match):
            return False
        if self.rules.match and not any(one.may_mean(service) for one in self.rules.match):
            return False
        if any(one.matches(named) for one in (*self.rules.ignore, *rules[-1].ignore)):
            return False
        return not any(one.matches(named) for rule in rules[:-1] for one in rule.match)

    def _service(self, rule: Rule, service: str, instances: t.Sequence[Instance]) -> None:
        healthy = sum(one.healthy for one in instances)
        frozen = sum(one.maintenance for one in instances)
        total = len(instances) - frozen
        value = 100.0 * healthy / max(1, total) if rule.percent else float(healthy)
        severity = rule.undercut(value)
        limit = rule.critical if severity == "critical" else rule.warning
        if severity == "none" or limit is None:
            return
        least = f"{limit:g} %" if rule.percent else f"{limit:g}"
        note = f" ({frozen} in maintenance)" if frozen else ""
        self.find(
            "service_min_healthy",
            severity,
            f"{healthy} of {count_of(total, 'instance')} of {service} in {self.observation.datacenter} healthy{note}, "
            f"at least {least} needed",
            service=service,
            detail=some_of(
                [f"{one.service_id} on {one.node}" for one in instances if not one.healthy and not one.maintenance]
            ),
        )

    # -- the wide area

    def wide_area(self) -> None:
        observation = self.observation
        if observation.wan is not None:
            for name, datacenter, alive in sorted(observation.wan):
                if not alive and datacenter != observation.datacenter:
                    self.simple(
                        "wan_member_failed",
                        f"server {name} of {datacenter} cannot be reached from {observation.datacenter} over the WAN",
                        node=name,
                    )
        if observation.datacenters is not None and self.rules.get("wan_dc_missing") is not None:
            for datacenter in sorted(set(self.every_expected) - {observation.datacenter}):
                servers = [alive for _name, home, alive in observation.wan or () if home == datacenter]
                if datacenter not in observation.datacenters:
                    self.simple("wan_dc_missing", f"{observation.datacenter} does not know the datacenter {datacenter}")
                elif servers and not any(servers):
                    self.simple(
                        "wan_dc_missing", f"no server of {datacenter} can be reached from {observation.datacenter}"
                    )

    # -- what expires, what lags

    def certificates(self) -> None:
        observation = self.observation
        for name, expiry, what in (
            ("tls_cert_expiry", observation.certificate_expiry, "the agent's certificate"),
            ("connect_ca_expiry", observation.ca_expiry, "the root certificate of Connect's CA"),
        ):
            rule = self.rules.get(name)
            if rule is None or expiry is None:
                continue
            left = expiry - observation.time
            when = f"expires in {human_age(left)}" if left > 0 else f"expired {human_age(-left)} ago"
            severity = (
                "critical" if left <= 0 and (rule.warning, rule.critical) != (None, None) else rule.undercut(left)
            )
            self.find(name, severity, f"{what} in {observation.datacenter} {when}")
        self._acl_replication()

    def _acl_replication(self) -> None:
        observation, rule = self.observation, self.rules.get("acl_replication_lag")
        found = observation.acl_replication
        if rule is None or found is None:
            return
        if found.last_error > found.last_success or not found.running:
            lag = observation.time - found.last_success if found.last_success else float("inf")
            since = f"for {human_age(lag)}" if found.last_success else "ever"
            self.find(
                "acl_replication_lag",
                rule.exceeded(lag),
                f"{observation.datacenter} has not copied ACLs from the primary datacenter {since}",
                advice="ObserveOptions at GET /v1/acl/replication and at the replication token.",
            )

    def snapshots(self) -> None:
        observation = self.observation
        if observation.snapshots is None:
            return
        newest = observation.snapshots.get(observation.datacenter)
        rule = self.rules.get("snapshot_age")
        if rule is not None:
            if newest is None:
                severity = (
                    "critical" if rule.critical is not None else "warning" if rule.warning is not None else "none"
                )
                self.find("snapshot_age", severity, f"there is no snapshot of {observation.datacenter}")
            else:
                age = observation.time - newest.time
                self.find(
                    "snapshot_age",
                    rule.exceeded(max(0.0, age)),
                    f"the newest snapshot of {observation.datacenter} is {human_age(max(0.0, age))} old",
                    detail=newest.path,
                )
                if age < -CLOCKS_DIFFER_S:
                    self.find(
                        "snapshot_age",
                        "warning",
                        f"the newest snapshot of {observation.datacenter} is dated {human_age(-age)} ahead",
                        detail=newest.path,
                        advice="Compare the clocks: until then nobody can say how old it is.",
                    )
        if newest is not None and newest.problem:
            self.simple(
                "snapshot_unverified",
                f"the newest snapshot of {observation.datacenter} is not intact",
                detail=f"{newest.path}: {newest.problem}",
            )
