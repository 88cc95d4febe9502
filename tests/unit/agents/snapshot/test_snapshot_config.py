# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the snapshot agent: defaults, what is refused and with which path, and the plan that follows."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.agent import check, policies_of
from ansible_collections.consulops.failover.plugins.module_utils._agents.snapshot.config import PolicyConfig
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import AgentConfig, make_config

LOCAL = {"local": {"url": "/var/backups/consul"}}
OFFSITE = {"offsite": {"url": "s3://bucket/consul"}}


def configured(given: t.Any, **more: t.Any) -> AgentConfig:
    return make_config({"agent": "snapshot", "options": {"policies": given}, **more}, {}, AGENT_TYPES)


def policy(**given: t.Any) -> PolicyConfig:
    (one,) = policies_of(configured({"hourly": {"destinations": LOCAL, **given}}).setup)
    return one


def refused(given: t.Any) -> str:
    with pytest.raises(InvalidOption) as error:
        configured(given)
    return str(error.value)


def test_the_defaults_are_those_of_the_agent_of_consul_enterprise() -> None:
    config = configured({"hourly": {"destinations": {**LOCAL, **OFFSITE}}})
    (one,) = policies_of(config.setup)
    assert one.schedule.slots.after(0) == 3600 and one.max_failures == 3 and not one.stale
    assert [place.retention.last for place in one.destinations] == [30, 30]
    assert config.service.name == "consul-snapshot" and config.service.deregister_after_s == 72 * 3600
    assert config.listen.port == 9002


def test_directories_are_for_each_host_and_object_stores_for_one() -> None:
    assert (policy().placement, policy().stale, policy().max_lag_s) == ("each", True, 10.0)
    with_store = policy(destinations={**LOCAL, **OFFSITE})
    assert (with_store.placement, with_store.stale, with_store.max_lag_s) == ("one", False, None)
    assert policy(placement="one").placement == "one"


def test_one_policy_has_a_lease_and_each_has_none() -> None:
    config = configured(
        {"a": {"destinations": OFFSITE}, "b": {"destinations": LOCAL}}, lease={"key": "consul-snapshot/lock"}
    )
    assert [(job.name, job.lease) for job in config.plan.jobs] == [
        *(("policy a", "policy a"), ("policy b", None)),
        *(("status of a", "policy a"), ("status of b", None)),
        *(("standby of a", None), ("standby status of a", None)),
    ]
    assert [lease.key for lease in config.plan.leases] == ["consul-snapshot/lock/a"]
    assert configured({"a": {"destinations": OFFSITE}}).plan.leases[0].key == "consulops/agents/snapshot/lease/a"


def test_the_objective_allows_one_snapshot_to_be_missing() -> None:
    assert policy(interval="1h", jitter="10m").objective_s == 2 * 3600 + 600 + 600
    assert policy(cron="0 0 * * 1-5").objective_s == 2 * 3 * 86400 + 600, "a weekend is no gap"
    assert policy(objective="90m").objective_s == 5400


def test_a_policy_that_is_read_again_is_the_same_so_that_a_reload_leaves_it_alone() -> None:
    given = {
        "cron": "5 * * * *",
        "timezone": "Europe/Berlin",
        "destinations": {"a": {"url": "/a", "keep_within": "3d"}},
    }
    assert policy(**given) == policy(**given)
    assert policy(**given) != policy(**{**given, "cron": "6 * * * *"})


def test_retention_has_periods_of_the_time_zone_of_the_policy() -> None:
    one = policy(timezone="Europe/Berlin", destinations={"a": {"url": "/a", "keep_daily": 7}})
    assert str(one.destinations[0].retention.zone) == "Europe/Berlin" and one.destinations[0].retention.last == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "options.policies: there is no policy"),
        ({"A": {"destinations": LOCAL}}, "options.policies.A: 'A' must consist of"),
        ({"a": {}}, "options.policies.a.destinations: this option is required"),
        ({"a": {"destinations": {}}}, "options.policies.a.destinations: there is none"),
        (
            {"a": {"destinations": {"x": {"url": "backups"}}}},
            "options.policies.a.destinations.x.url: 'backups' is neither",
        ),
        (
            {"a": {"destinations": {"x": {"url": "ftp://h/"}}}},
            "options.policies.a.destinations.x.url: ftp:// is no kind",
        ),
        (
            {"a": {"destinations": {"x": {"url": "/b"}, "y": {"url": "/b/"}}}},
            "options.policies.a.destinations.y.url: /b/ is that of x too",
        ),
        (
            {"a": {"destinations": {"x": {"url": "/b", "keep_dayly": 3}}}},
            "options.policies.a.destinations.x.keep_dayly: unknown option. Did you mean keep_daily?",
        ),
        (
            {"a": {"destinations": {"x": {"url": "/b", "keep_within": "2w"}}}},
            "options.policies.a.destinations.x.keep_within: '2w' is not a time",
        ),
        ({"a": {"destinations": LOCAL, "cron": "x"}}, "options.policies.a.cron: 'x' is not understood"),
        (
            {"a": {"destinations": LOCAL, "timezone": "Mars"}},
            "options.policies.a.destinations.local.timezone: there is no",
        ),
        ({"a": {"destinations": LOCAL, "placement": "two"}}, "options.policies.a.placement: 'two' is not one of"),
        ({"a": {"destinations": LOCAL, "max_failures": 0}}, "options.policies.a.max_failures: 0 is less than 1"),
        (
            {"a": {"destinations": OFFSITE, "max_lag": "5s"}},
            "options.policies.a.max_lag: only a server that may be stale",
        ),
        ({"a": {"destinations": LOCAL, "objective": "soon"}}, "options.policies.a.objective: 'soon' is not a duration"),
        (
            {"a": {"destinations": LOCAL, "max_shrink_percent": 120}},
            "options.policies.a.max_shrink_percent: 120 is not",
        ),
        ({"a": {"destinations": LOCAL, "stream_timeout": 0}}, "options.policies.a.stream_timeout: 0 is not between"),
        ({"a": {"destinations": LOCAL, "connection": {"url": "ftp://x"}}}, "options.policies.a.connection: "),
    ],
)
def test_what_is_no_policy_is_refused_with_its_path(given: t.Any, sentence: str) -> None:
    assert sentence in refused(given)


def test_check_config_sees_the_directories(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidOption, match=r"options\.policies\.a\.destinations\.x\.url: The directory .* does not exist"
    ):
        check(configured({"a": {"destinations": {"x": {"url": str(tmp_path / "gone")}}}}).setup)
    check(configured({"a": {"destinations": {"x": {"url": str(tmp_path)}}}}).setup)


def test_rehearsals_have_a_schedule_and_a_destination_of_the_policy() -> None:
    assert policy().rehearse is None
    one = policy(rehearse={"cron": "30 4 * * *", "memory_limit": "4G", "time_limit": "30m"}).rehearse
    assert one is not None and one.destination == "local" and one.memory_bytes == 4 << 30 and one.time_s == 1800
    assert one.objective_s == 3 * 86400 + 1800, "two may be missing"
    config = configured({"a": {"destinations": {**LOCAL, **OFFSITE}, "rehearse": {"destination": "offsite"}}})
    job = next(job for job in config.plan.jobs if job.name == "rehearsal of a")
    assert job.lease == "policy a", "the instance that takes the snapshots rehearses them"
    assert not any(job.name.startswith("rehearsal") for job in configured({"a": {"destinations": LOCAL}}).plan.jobs)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"destination": "nowhere"}, "rehearse.destination: the policy has no destination nowhere; it has local."),
        ({"memory_limit": "1M"}, "rehearse.memory_limit '1M' is less than the 64M"),
        ({"time_limit": "0s"}, "rehearse.time_limit: "),
        ({"interval": "1h", "cron": "@daily"}, "rehearse: write either interval"),
        ({"unknown": 1}, "rehearse.unknown: unknown option."),
    ],
)
def test_rehearsals_that_cannot_be_done_are_refused(given: dict[str, t.Any], words: str) -> None:
    assert f"options.policies.a.{words}" in refused({"a": {"destinations": LOCAL, "rehearse": given}})
