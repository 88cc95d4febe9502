# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges a reading: which rules find something wrong. Pure, so that a module and an agent judge alike.

What explains something else stands alone: without a leader checks are frozen and say nothing, a dead node's checks are not
listed one by one, and what is in maintenance is never counted as failing.
"""

from __future__ import annotations

import typing as t

from .._consul.units import count_of, human_age, some_of
from .finding import Finding, Judgement
from .match import Subject
from .reading import NODE_MAINTENANCE, SERF_CHECK, SERVICE_MAINTENANCE, Check, Instance, Reading
from .ruleset import Expected, Rule, RuleSet


def judge(reading: Reading, rules: RuleSet, expected: t.Mapping[str, Expected]) -> Judgement:
    """Return everything that is wrong with one datacenter."""
    judging = _Judging(reading, rules, expected)
    if reading.unreachable:
        # A certificate that has expired is reason enough for not being let in.
        if reading.certificate_expiry is None or reading.certificate_expiry > reading.time:
            judging.unreachable()
        judging.certificates()
    else:
        judging.cluster()
        if reading.leader_problem is None:
            judging.raft()
            judging.checks()
            judging.services()
        judging.wide_area()
        judging.certificates()
    judging.snapshots()
    return judging.judgement


class _Judging:
    def __init__(self, reading: Reading, rules: RuleSet, expected: t.Mapping[str, Expected]) -> None:
        self.reading = reading
        self.rules = rules
        self.every_expected = expected
        self.expected = expected.get(reading.datacenter)
        self.judgement = Judgement(unknown=list(reading.unknown))
        self.dead_servers: set[str] = set()

    def find(self, rule: str, severity: str, summary: str, **more: t.Any) -> None:
        if severity != "none":
            self.judgement.findings.append(Finding(rule, severity, self.reading.datacenter, summary, **more))

    def simple(self, name: str, summary: str, **more: t.Any) -> None:
        """Add a finding of a rule that has one severity, if the rule is on."""
        rule = self.rules.get(name)
        if rule is not None:
            self.find(name, rule.severity, summary, **more)

    # -- the datacenter itself

    def unreachable(self) -> None:
        datacenter = self.reading.datacenter
        self.simple(
            "consul_unreachable",
            f"Consul of {datacenter} cannot be asked: {self.reading.unreachable}",
            advice="Nothing else is known of this datacenter.",
        )

    def cluster(self) -> None:
        reading = self.reading
        if reading.leader_problem is not None:
            self.simple(
                "no_leader",
                f"{reading.datacenter} has no leader: nothing can be written, and checks are frozen",
                detail=reading.leader_problem,
                advice="Start the servers that are down; while an election runs this passes within seconds.",
            )
        if reading.visible_servers == 0:
            self.simple(
                "acl_token_blind",
                f"the token sees no Consul server in {reading.datacenter}, so it sees no failures either",
                advice='It needs node_prefix "" { policy = "read" } and service_prefix "" { policy = "read" }.',
            )
            return
        self._quorum()
        self._servers()
        self._versions()

    def _quorum(self) -> None:
        rule, servers = self.rules.get("quorum_margin"), self.reading.servers
        if rule is None or servers is None:
            return
        alive = {server.name for server in servers if server.alive}
        voters = self.reading.voters
        # Judged against the voters that Raft knows and against those that should be there: dead servers are removed from
        # Raft after some 15 seconds, and what is left then calls itself healthy.
        judged = []
        if voters:
            judged.append((len(alive & set(voters)), len(voters), "servers"))
        if self.expected is not None:
            names = set(self.expected.names)
            judged.append((len(alive & names if names else alive), self.expected.count, "expected servers"))
        worst: tuple[int, int, int, str] | None = None
        for here, should, what in judged:
            margin = here - (should // 2 + 1)
            if here < should and (worst is None or margin <= worst[0]):
                worst = (margin, here, should, what)
        if worst is None:
            return
        margin, here, should, what = worst
        means = (
            "quorum is lost"
            if margin < 0
            else "one more failure loses quorum"
            if margin == 0
            else f"{count_of(margin + 1, 'more failure')} would lose quorum"
        )
        self.find(
            "quorum_margin",
            rule.undercut(margin, inclusive=True),
            f"{here} of {should} {what} alive in {self.reading.datacenter}: {means}",
            detail=f"alive: {', '.join(sorted(alive)) or 'none'}",
            advice="Bring the missing servers back before anything else is restarted.",
        )

    def _servers(self) -> None:
        servers = self.reading.servers
        if servers is None:
            return
        alive = {server.name for server in servers if server.alive}
        self.dead_servers = {server.name for server in servers if not server.alive}
        datacenter = self.reading.datacenter
        if self.expected is not None and not self.expected.names:
            if len(alive) < self.expected.count:
                missing = self.expected.count - len(alive)
                dead = f" ({', '.join(sorted(self.dead_servers))})" if self.dead_servers else ""
                self.simple("server_missing", f"{count_of(missing, 'server')} of {datacenter} missing{dead}")
            if len(alive) > self.expected.count:
                self.simple(
                    "server_unexpected",
                    f"{len(alive)} servers in {datacenter}, {self.expected.count} expected",
                    detail=", ".join(sorted(alive)),
                )
            return
        names = set(self.expected.names) if self.expected else {server.name for server in servers}
        for name in sorted(names - alive):
            state = "failed" if name in self.dead_servers else "gone: Consul does not even list it any more"
            self.simple("server_missing", f"server {name} of {datacenter} is {state}", node=name)
        self.dead_servers |= names - alive
        for name in sorted(alive - names):
            self.simple(
                "server_unexpected",
                f"server {name} of {datacenter} is not among the expected ones",
                node=name,
                advice="Add it to expect, or find out who started it.",
            )

    def _versions(self) -> None:
        versions: dict[str, list[str]] = {}
        for server in self.reading.servers or ():
            if server.alive and server.version:
                versions.setdefault(server.version, []).append(server.name)
        if len(versions) > 1:
            listed = "; ".join(
                f"{version} on {', '.join(sorted(names))}" for version, names in sorted(versions.items())
            )
            self.simple(
                "version_skew",
                f"{len(versions)} versions of Consul among the servers of {self.reading.datacenter}",
                detail=listed,
            )

    # -- raft and autopilot

    def raft(self) -> None:
        reading = self.reading
        raft = reading.raft or []
        leader = next((server for server in raft if server.leader), None)
        sick = sorted(server.name for server in raft if not server.healthy)
        if reading.autopilot_healthy is False and not (sick and set(sick) <= self.dead_servers):
            self.simple(
                "autopilot_unhealthy",
                f"autopilot calls {reading.datacenter} unhealthy" + (f": {', '.join(sick)}" if sick else ""),
                detail="consul operator autopilot state says more.",
            )
        for server in raft:
            if server.leader or server.name in self.dead_servers:
                continue
            lagging = self.rules.get("raft_last_contact")
            if lagging is not None:
                self.find(
                    "raft_last_contact",
                    lagging.exceeded(server.last_contact_s),
                    f"server {server.name} of {reading.datacenter} has not heard from the leader for {server.last_contact_s:.1f} s",
                    node=server.name,
                    advice="Look at its load, its disk, and the network between it and the leader.",
                )
            trailing = self.rules.get("raft_trailing_logs")
            if trailing is not None and leader is not None:
                behind = leader.last_index - server.last_index
                self.find(
                    "raft_trailing_logs",
                    trailing.exceeded(behind),
                    f"server {server.name} of {reading.datacenter} is {behind:,} log entries behind the leader",
                    node=server.name,
                )

    # -- checks

    def checks(self) -> None:
        reading = self.reading
        if reading.checks is None:
            return
        frozen_nodes = {check.node for check in reading.checks if check.check == NODE_MAINTENANCE}
        frozen_services = {
            (check.node, check.check[len(SERVICE_MAINTENANCE) :])
            for check in reading.checks
            if check.check.startswith(SERVICE_MAINTENANCE)
        }
        self.judgement.maintenance += [f"{reading.datacenter}: node {node}" for node in frozen_nodes]
        self.judgement.maintenance += [
            f"{reading.datacenter}: service {service} on {node}"
            for node, service in frozen_services
            if node not in frozen_nodes
        ]
        down = {check.node for check in reading.checks if check.check == SERF_CHECK and check.status == "critical"}
        silent = dict.fromkeys(down, 0)
        for check in reading.checks:
            if check.node in frozen_nodes or (check.node, check.service_id) in frozen_services:
                continue
            if check.check == SERF_CHECK and check.node in down:
                continue
            if check.node in down:
                silent[check.node] += 1
                continue
            self._check(check)
        for node in sorted(down - frozen_nodes - self.dead_servers):
            self._node_down(
                node,
                silent[node],
                next(check for check in reading.checks if (check.node, check.check) == (node, SERF_CHECK)),
            )

    def _check(self, check: Check) -> None:
        subject = self._subject(check.node, check.service, check.check, check.tags, check.service_id)
        rule = self._rule_for("check_status", subject)
        if rule is None:
            return
        where = f"{check.service} on {check.node}" if check.service else f"node {check.node}"
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

    def _node_down(self, node: str, others: int, check: Check) -> None:
        rule = self._rule_for("node_down", self._subject(node, "", SERF_CHECK, (), ""))
        if rule is None:
            return
        more = f"; {count_of(others, 'other check')} on it not listed" if others else ""
        self.find(
            "node_down",
            rule.severity,
            f"node {node} of {self.reading.datacenter} is down{more}",
            node=node,
            check=SERF_CHECK,
            since_index=check.index,
            detail=" ".join(check.output.split())[:300],
        )

    def _subject(self, node: str, service: str, check: str, tags: tuple[str, ...], service_id: str) -> Subject:
        reading = self.reading
        return Subject(
            node,
            service,
            check,
            tags,
            reading.node_meta.get(node, {}),
            reading.service_meta.get((node, service_id), {}),
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
        for rule in self.rules.every("service_min_healthy"):
            if not rule.enabled or not rule.match:
                continue
            for service, instances in sorted((self.reading.services or {}).items()):
                if any(pattern(service) for one in rule.match for pattern in one.names("service")):
                    self._service(rule, service, instances)

    def _service(self, rule: Rule, service: str, instances: t.Sequence[Instance]) -> None:
        healthy = sum(one.healthy for one in instances)
        frozen = sum(one.maintenance for one in instances)
        total = len(instances) - frozen
        value = 100.0 * healthy / total if rule.percent and total else float(healthy)
        if rule.percent and not total:
            value = 0.0 if not frozen else 100.0
        severity = rule.undercut(value)
        limit = rule.critical if severity == "critical" else rule.warning
        if severity == "none" or limit is None:
            return
        least = f"{limit:g} %" if rule.percent else f"{limit:g}"
        note = f" ({frozen} in maintenance)" if frozen else ""
        self.find(
            "service_min_healthy",
            severity,
            f"{healthy} of {count_of(total, 'instance')} of {service} in {self.reading.datacenter} healthy{note}, at least {least} needed",
            service=service,
            detail=some_of(
                [f"{one.service_id} on {one.node}" for one in instances if not one.healthy and not one.maintenance]
            ),
        )

    # -- the wide area

    def wide_area(self) -> None:
        reading = self.reading
        if reading.wan is not None:
            for name, datacenter, alive in sorted(reading.wan):
                if not alive and datacenter != reading.datacenter:
                    self.simple(
                        "wan_member_failed",
                        f"server {name} of {datacenter} cannot be reached from {reading.datacenter} over the WAN",
                        node=name,
                    )
        if reading.datacenters is not None and self.rules.get("wan_dc_missing") is not None:
            for datacenter in sorted(set(self.every_expected) - {reading.datacenter}):
                servers = [alive for _name, home, alive in reading.wan or () if home == datacenter]
                if datacenter not in reading.datacenters:
                    self.simple("wan_dc_missing", f"{reading.datacenter} does not know the datacenter {datacenter}")
                elif servers and not any(servers):
                    self.simple("wan_dc_missing", f"no server of {datacenter} can be reached from {reading.datacenter}")

    # -- what expires, what lags

    def certificates(self) -> None:
        reading = self.reading
        for name, expiry, what in (
            ("tls_cert_expiry", reading.certificate_expiry, "the agent's certificate"),
            ("connect_ca_expiry", reading.ca_expiry, "the root certificate of Connect's CA"),
        ):
            rule = self.rules.get(name)
            if rule is None or expiry is None:
                continue
            left = expiry - reading.time
            when = f"expires in {human_age(left)}" if left > 0 else f"expired {human_age(-left)} ago"
            severity = (
                "critical" if left <= 0 and (rule.warning, rule.critical) != (None, None) else rule.undercut(left)
            )
            self.find(name, severity, f"{what} in {reading.datacenter} {when}")
        self._acl_replication()

    def _acl_replication(self) -> None:
        reading, rule = self.reading, self.rules.get("acl_replication_lag")
        found = reading.acl_replication
        if rule is None or found is None:
            return
        if found.last_error > found.last_success or not found.running:
            lag = reading.time - found.last_success if found.last_success else float("inf")
            since = f"for {human_age(lag)}" if found.last_success else "ever"
            self.find(
                "acl_replication_lag",
                rule.exceeded(lag),
                f"{reading.datacenter} has not copied ACLs from the primary datacenter {since}",
                advice="Look at GET /v1/acl/replication and at the replication token.",
            )

    def snapshots(self) -> None:
        reading = self.reading
        if reading.snapshots is None:
            return
        newest = reading.snapshots.get(reading.datacenter)
        rule = self.rules.get("snapshot_age")
        if rule is not None:
            if newest is None:
                severity = (
                    "critical" if rule.critical is not None else "warning" if rule.warning is not None else "none"
                )
                self.find("snapshot_age", severity, f"there is no snapshot of {reading.datacenter}")
            else:
                age = max(0.0, reading.time - newest.time)
                self.find(
                    "snapshot_age",
                    rule.exceeded(age),
                    f"the newest snapshot of {reading.datacenter} is {human_age(age)} old",
                    detail=newest.path,
                )
        if newest is not None and newest.problem:
            self.simple(
                "snapshot_unverified",
                f"the newest snapshot of {reading.datacenter} is not intact",
                detail=f"{newest.path}: {newest.problem}",
            )
