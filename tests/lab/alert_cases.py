# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For each alert of extensions/prometheus/rules.yml: series with which it fires, when, and what it says. Read by promtool."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

AGENT = {"agent": "alerting", "name": "watch", "instance": "h1"}
BY_LEASE = {"agent": "alerting", "name": "watch", "lease": "lease"}
SET = {"set": "app", "instance": "h1"}
POLICY = {"policy": "hourly", "instance": "h1"}
PLACE = {"policy": "hourly", "destination": "bucket", "instance": "h1"}
HOOK = {"receiver": "hook", "instance": "h1"}
STARTED = "consulops_start_timestamp_seconds"
OLDEST = "consulops_receiver_oldest_timestamp_seconds"
VERIFIED = "consulops_replication_last_verification_timestamp_seconds"
RECORDS = "consulops_snapshot_records"


@dataclass(frozen=True)
class Case:
    """One alert. ``series`` are values in promtool's notation, one each ``step_minutes``; ``fires`` and ``quiet`` are minutes."""

    alert: str
    series: t.Mapping[str, str]
    fires: int
    labels: t.Mapping[str, str]
    summary: str
    severity: str = "warning"
    quiet: int = 0
    step_minutes: int = 1


def one(name: str, labels: t.Mapping[str, str], values: str) -> dict[str, str]:
    """Return one series."""
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return {f"{name}{{{inside}}}": values}


def lease(first: str, second: str, name: str = "consulops_lease_held") -> dict[str, str]:
    """Return what two instances say of a lease."""
    return {
        **one(name, {**BY_LEASE, "instance": "h1"}, first),
        **one(name, {**BY_LEASE, "instance": "h2"}, second),
    }


CASES = (
    Case(
        "ConsulopsAgentDown",
        one("up", {"job": "consulops", "instance": "h1"}, "1x5 0x10"),
        9,
        {"job": "consulops", "instance": "h1"},
        "h1 does not answer Prometheus",
        "critical",
        6,
    ),
    Case(
        "ConsulopsAgentHangs",
        one("consulops_alive", AGENT, "1x5 0x10"),
        9,
        AGENT,
        "A job of watch on h1 gives no sign of life",
        "critical",
        6,
    ),
    Case(
        "ConsulopsAgentUnhealthy",
        one("consulops_healthy", AGENT, "1x5 0x10"),
        12,
        AGENT,
        "watch on h1 does not do its work",
        quiet=7,
    ),
    Case(
        "ConsulopsAgentRestarts",
        one(STARTED, AGENT, "1x5 2x1 3x1 4x1 5x5"),
        14,
        AGENT,
        "watch on h1 was started 4 times within half an hour",
        quiet=10,
    ),
    Case(
        "ConsulopsReloadFailed",
        one("consulops_reload_failed", AGENT, "0x5 1x10"),
        12,
        AGENT,
        "watch on h1 runs with its old configuration",
        quiet=7,
    ),
    Case(
        "ConsulopsVersionsDiffer",
        {
            **one("consulops_build_info", {**AGENT, "version": "1.2.1", "node": "n1"}, "1x90"),
            **one("consulops_build_info", {**AGENT, "instance": "h2", "version": "1.3.0", "node": "n2"}, "1x90"),
        },
        70,
        {"agent": "alerting", "name": "watch"},
        "Instances of watch run different versions",
        quiet=50,
    ),
    Case(
        "ConsulopsJobFails",
        one("consulops_failures_in_row", {**AGENT, "exported_job": "notify"}, "0+1x20"),
        12,
        {**AGENT, "exported_job": "notify"},
        "notify of watch on h1 failed 12 times in a row",
        quiet=8,
    ),
    Case(
        "ConsulopsNobodyHoldsLease",
        lease("1x5 0x10", "0x15"),
        12,
        BY_LEASE,
        "No instance of watch holds the lease lease",
        "critical",
        9,
    ),
    Case(
        "ConsulopsTwoHoldLease",
        lease("1x15", "0x5 1x10"),
        12,
        BY_LEASE,
        "2 instances of watch say that they hold the lease lease",
        "critical",
        9,
    ),
    Case(
        "ConsulopsLeaseUnknown",
        one("consulops_lease_unknown", {**BY_LEASE, "instance": "h1"}, "0x5 1x10"),
        12,
        {**BY_LEASE, "instance": "h1"},
        "Consul does not say to h1 who holds the lease lease of watch",
        quiet=9,
    ),
    Case(
        "ConsulopsLeaseMoves",
        lease("1+1x40", "1+1x40", "consulops_lease_terms_total"),
        30,
        BY_LEASE,
        "The lease lease of watch was taken 60 times within half an hour",
        quiet=1,
    ),
    Case(
        "ConsulopsAlert",
        {
            **one(
                "consulops_alert_firing",
                {"alertname": "no_leader", "severity": "critical", "datacenter": "dc1", "instance": "h1"},
                "_x4 1x5",
            ),
            **one(
                "consulops_alert_firing",
                {"alertname": "no_leader", "severity": "critical", "datacenter": "dc1", "instance": "h2"},
                "_x4 1x5",
            ),
        },
        6,
        {"rule": "no_leader", "datacenter": "dc1"},
        "no_leader in dc1",
        "critical",
        3,
    ),
    Case(
        "ConsulopsFindings",
        one("consulops_findings", {"datacenter": "dc2", "severity": "critical", "instance": "h1"}, "0x5 2x15"),
        17,
        {"datacenter": "dc2"},
        "2 things are critical in dc2",
        "critical",
        12,
    ),
    Case(
        "ConsulopsFindingsUnknown",
        one("consulops_findings", {"datacenter": "dc1", "severity": "unknown", "instance": "h1"}, "0x5 1x25"),
        22,
        {"datacenter": "dc1"},
        "1 things in dc1 cannot be judged",
        quiet=18,
    ),
    Case(
        "ConsulopsReadingOld",
        one("consulops_reading_timestamp_seconds", {"datacenter": "dc1", "instance": "h1"}, "0+60x5 300x20"),
        20,
        {"datacenter": "dc1"},
        "dc1 was read 15m 0s ago",
        "critical",
        10,
    ),
    Case(
        "ConsulopsReadingSlow",
        one("consulops_reading_seconds", {"datacenter": "dc1", "instance": "h1"}, "1x5 30x20"),
        17,
        {"datacenter": "dc1", "instance": "h1"},
        "h1 takes 30s to read dc1",
        quiet=14,
    ),
    Case(
        "ConsulopsReceiverFails",
        one("consulops_receiver_failing", HOOK, "0x5 1x20"),
        17,
        HOOK,
        "hook does not take the messages of h1",
        quiet=14,
    ),
    Case(
        "ConsulopsMessagesWait",
        one(OLDEST, HOOK, "0x10 600x40"),
        30,
        HOOK,
        "A message to hook waits on h1 since 20m 0s",
        "critical",
        24,
    ),
    Case(
        "ConsulopsMessagesGivenUp",
        one("consulops_receiver_given_up_total", HOOK, "0x10 1x20"),
        15,
        HOOK,
        "Messages to hook were given up on h1",
        "critical",
        9,
    ),
    Case(
        "ConsulopsProgramsFail",
        one("consulops_programs_failed", {**AGENT, "exported_job": "events"}, "0x10 1x20"),
        15,
        {**AGENT, "exported_job": "events"},
        "Programs for Consul's events failed on h1",
        quiet=9,
    ),
    Case(
        "ConsulopsReplicationBehind",
        one("consulops_replication_state", {**SET, "state": "behind"}, "0x5 1x20"),
        17,
        {**SET, "state": "behind"},
        "The set app is behind on h1",
        "critical",
        14,
    ),
    Case(
        "ConsulopsReplicationLag",
        one("consulops_replication_lag_seconds", SET, "0.1x5 90x20"),
        12,
        SET,
        "The set app is 1m 30s late",
        quiet=9,
    ),
    Case(
        "ConsulopsReplicationDeletionsPaused",
        one("consulops_replication_paused_deletes", SET, "0x5 7x20"),
        8,
        SET,
        "7 deletions of the set app wait for an acknowledgement",
        "critical",
        5,
    ),
    Case(
        "ConsulopsReplicationConflicts",
        one("consulops_replication_conflicts", SET, "0x5 3x20"),
        22,
        SET,
        "Someone else wrote 3 keys of the set app at the destination",
        quiet=19,
    ),
    Case(
        "ConsulopsReplicationUnwritable",
        one("consulops_replication_unwritable", SET, "0x5 3x20"),
        22,
        SET,
        "The destination refuses 3 keys of the set app",
        quiet=19,
    ),
    Case(
        "ConsulopsReplicationDeletesDeferred",
        one("consulops_replication_deferred_deletes", SET, "0x5 3x80"),
        70,
        SET,
        "3 deletions of the set app are put off",
        quiet=60,
    ),
    Case(
        "ConsulopsReplicationFrozen",
        one("consulops_replication_frozen", SET, "0x5 1x80"),
        70,
        SET,
        "The set app is frozen",
        quiet=60,
    ),
    Case(
        "ConsulopsReplicationNotVerified",
        one(VERIFIED, SET, "60x150"),
        140,
        SET,
        "The set app was not compared in full for 2h 19m 0s",
        quiet=120,
    ),
    Case(
        "ConsulopsReplicationNeverVerified",
        one(VERIFIED, SET, "0x80"),
        65,
        SET,
        "The set app is compared for an hour, and not through",
        quiet=55,
    ),
    Case(
        "ConsulopsReplicationDiffers",
        {
            **one("consulops_replication_equal", SET, "1x5 0x80"),
            **one("consulops_replication_conflicts", SET, "0x85"),
        },
        70,
        SET,
        "Both sides of the set app differ for an hour",
        quiet=60,
    ),
    Case(
        "ConsulopsReplicationSourceShrank",
        one("consulops_replication_source_keys", SET, "1000x20 400x20"),
        30,
        SET,
        "The source of the set app lost more than half of its keys within a day",
        "critical",
        22,
    ),
    Case(
        "ConsulopsSnapshotTooOld",
        one("consulops_snapshot_critical", POLICY, "0x5 1x10"),
        8,
        POLICY,
        "The policy hourly has no verified snapshot that is young enough",
        "critical",
        5,
    ),
    Case(
        "ConsulopsSnapshotGettingOld",
        {
            **one("consulops_snapshot_age_seconds", POLICY, "0+60x125"),
            **one("consulops_snapshot_objective_seconds", POLICY, "7200x125"),
            **one("consulops_snapshot_critical", POLICY, "0x125"),
        },
        115,
        POLICY,
        "The newest snapshot of the policy hourly is 1h 55m 0s old, near its objective",
        quiet=105,
    ),
    Case(
        "ConsulopsSnapshotMissed",
        one("consulops_snapshot_missed_slots_total", POLICY, "0x5 1x10"),
        8,
        POLICY,
        "Planned snapshots of the policy hourly were not taken",
        quiet=4,
    ),
    Case(
        "ConsulopsSnapshotDoubled",
        one("consulops_snapshot_doubled_slots_total", POLICY, "0x5 1x10"),
        8,
        POLICY,
        "Two instances took the same planned snapshot of the policy hourly",
        quiet=4,
    ),
    Case(
        "ConsulopsSnapshotGivenUp",
        one("consulops_snapshot_given_up_total", POLICY, "0x5 1x10"),
        8,
        POLICY,
        "Snapshots of the policy hourly did not reach every destination and were given up",
        "critical",
        4,
    ),
    Case(
        "ConsulopsSnapshotShrank",
        one("consulops_snapshot_size_bytes", POLICY, "1000x100 400x20"),
        112,
        POLICY,
        "The newest snapshot of the policy hourly has less than half of its usual size",
        "critical",
        103,
    ),
    Case(
        "ConsulopsSnapshotGrew",
        one("consulops_snapshot_size_bytes", POLICY, "1000x100 3000x20"),
        112,
        POLICY,
        "The newest snapshot of the policy hourly has more than twice its usual size",
        quiet=103,
    ),
    Case(
        "ConsulopsSnapshotTableShrank",
        one(RECORDS, {**POLICY, "table": "KVS"}, "1000x144 400x10"),
        1480,
        {**POLICY, "table": "KVS"},
        "KVS has less than half of the records of yesterday in the snapshots of the policy hourly",
        quiet=1440,
        step_minutes=10,
    ),
    Case(
        "ConsulopsSnapshotDestinationDown",
        one("consulops_snapshot_destination_up", PLACE, "1x5 0x20"),
        22,
        PLACE,
        "bucket of the policy hourly did not work when it was used last",
        quiet=19,
    ),
    Case(
        "ConsulopsSnapshotDestinationOld",
        {
            **one("consulops_snapshot_destination_last_timestamp_seconds", PLACE, "0x140"),
            **one("consulops_snapshot_objective_seconds", POLICY, "7200x140"),
        },
        130,
        PLACE,
        "The newest snapshot in bucket of the policy hourly is 2h 10m 0s old",
        "critical",
        121,
    ),
    Case(
        "ConsulopsSnapshotWaits",
        one("consulops_snapshot_destination_waiting", PLACE, "0x5 2x80"),
        70,
        PLACE,
        "2 snapshots wait for bucket of the policy hourly",
        quiet=60,
    ),
    Case(
        "ConsulopsSnapshotWaitsOnStandby",
        one("consulops_snapshot_standby_waiting", POLICY, "0x5 2x80"),
        70,
        POLICY,
        "2 snapshots of the policy hourly wait on h1, which does not hold the lease",
        quiet=60,
    ),
    Case(
        "ConsulopsRehearsalFailed",
        one("consulops_snapshot_rehearsal_ok", POLICY, "1x5 0x10"),
        8,
        POLICY,
        "The newest snapshot of the policy hourly did not restore in its rehearsal",
        "critical",
        5,
    ),
    Case(
        "ConsulopsRehearsalOverdue",
        one("consulops_snapshot_rehearsal_overdue", POLICY, "0x5 1x10"),
        8,
        POLICY,
        "The policy hourly was not rehearsed with success for too long",
        quiet=5,
    ),
)


def promtool_files(
    cases: t.Iterable[Case], rules: str, descriptions: t.Mapping[str, str]
) -> dict[int, dict[str, t.Any]]:
    """Return promtool's files of tests, one for each step: an alert fires at its minute, with its words, and is quiet before."""
    files: dict[int, dict[str, t.Any]] = {}
    for case in cases:
        file = files.setdefault(
            case.step_minutes, {"rule_files": [rules], "evaluation_interval": f"{case.step_minutes}m", "tests": []}
        )
        fired = {
            "exp_labels": {**case.labels, "severity": case.severity},
            "exp_annotations": {"summary": case.summary, "description": descriptions[case.alert]},
        }
        test = _test_for(case, file["tests"])
        test["input_series"] += [{"series": name, "values": values} for name, values in case.series.items()]
        test["alert_rule_test"] += [
            {"eval_time": f"{case.quiet}m", "alertname": case.alert, "exp_alerts": []},
            {"eval_time": f"{case.fires}m", "alertname": case.alert, "exp_alerts": [fired]},
        ]
    return files


def _test_for(case: Case, tests: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return a test without series of the same metrics, or a new one. promtool makes a database for each, which takes its time."""
    names = {series.partition("{")[0] for series in case.series}
    for test in tests:
        if not names & {one["series"].partition("{")[0] for one in test["input_series"]}:
            return test
    tests.append({"interval": f"{case.step_minutes}m", "input_series": [], "alert_rule_test": []})
    return tests[-1]
