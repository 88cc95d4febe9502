# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of the keys of consul-alerts: nothing is dropped silently, no secret gets out, and the result can be used."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.config import (
    AlertingConfig,
    make_alerting_config,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.import_consul_alerts import (
    Imported,
    import_tree,
)
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.notification import Alert
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.registry import RECEIVERS
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.routing import RouteTree
from ansible_collections.consulops.failover.plugins.module_utils._config.import_notes import (
    CHANGED,
    NO_EQUAL,
    PROBLEM,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.consul_alerts import CONFIG, NOTIFIERS, SECRET, tree, whole_tree

DIRECTORY = "/etc/consulops/secrets"
PREFIX = "consul-alerts/config/"
LOG_ONLY = {"notifiers/log/enabled": "true"}
SLACK = {"notifiers/slack/enabled": "true", "notifiers/slack/url": f"https://hooks.slack.com/{SECRET}"}
# Keys that say what is the case without them as well, or that another key makes meaningless.
WITHOUT_EFFECT = {"checks/enabled", "notifiers/email/one-per-alert", "notifiers/log/enabled"}


def imported(config: t.Mapping[str, str]) -> Imported:
    return import_tree(tree(config), DIRECTORY)


def options(config: t.Mapping[str, str]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = imported(config).configuration["options"]
    return found


def made(result: Imported) -> AlertingConfig:
    return make_alerting_config(result.configuration["options"], RECEIVERS)


def notes(result: Imported, key: str) -> list[tuple[str, str]]:
    return [(note.kind, note.sentence) for note in result.notes if PREFIX + key in note.keys]


def alert(**fields: t.Any) -> Alert:
    """Return a critical alert of a check."""
    return Alert("k", "e", "firing", "critical", "check_status", "dc1", "it fails", 0.0, **fields)


def told(config: t.Mapping[str, str], **alert_fields: t.Any) -> list[str]:
    """Return who would be told of an alert."""
    routes = RouteTree(made(imported(config)).core.policy.route).destinations(alert(**alert_fields))
    return [route.receiver for route in routes if not route.mute_times]


def check_nothing_is_lost(result: Imported, keys: t.Collection[str]) -> None:
    noted = {key for note in result.notes for key in note.keys}
    assert set(keys) <= noted | result.translated
    made(result)
    assert SECRET not in json.dumps(result.configuration) + "".join(map(str, result.notes))
    json.dumps(result.configuration)


def test_every_key_is_translated_or_named_and_no_secret_gets_out() -> None:
    result = import_tree(whole_tree(), DIRECTORY)
    check_nothing_is_lost(result, whole_tree())
    assert result.secrets == {
        "email.password": f"{SECRET}-mail",
        "slack.url": f"https://hooks.slack.com/services/{SECRET}",
        "slack-team.url": f"https://hooks.slack.com/services/{SECRET}-team",
        "mattermost-webhook.url": f"https://chat.example.com/hooks/{SECRET}",
        "pagerduty.routing_key": f"{SECRET}-pd",
        "opsgenie.api_key": f"{SECRET}-og",
        "victorops.url": f"https://alert.victorops.com/integrations/generic/20131114/alert/{SECRET}-vo",
        "http-endpoint.url": f"https://hooks.example.com/consul?key={SECRET}",
        "http-endpoint.password": f"{SECRET}-pw",
        "ilert.integration_key": f"{SECRET}-ilert",
    }
    for name in ("hipchat", "influxdb", "mattermost"):
        for key in NOTIFIERS[name]:
            assert NO_EQUAL in dict(notes(result, f"notifiers/{name}/{key}")), key
    assert PROBLEM in dict(notes(result, "notifiers/pigeon/enabled")) and PROBLEM in dict(notes(result, "typo"))


@pytest.mark.parametrize("key", sorted(set(CONFIG) - WITHOUT_EFFECT))
def test_each_key_makes_a_difference(key: str) -> None:
    everything, without = imported(CONFIG), imported({name: value for name, value in CONFIG.items() if name != key})
    assert (everything.configuration, everything.secrets, everything.notes) != (
        without.configuration,
        without.secrets,
        without.notes,
    )


_NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
_KEYS = st.sampled_from(sorted(CONFIG)) | st.builds(
    lambda start, name, end: start + name + end,
    st.sampled_from(
        [
            *("", "checks/", "checks/blacklist/nodes/", "checks/blacklist/single/", "checks/blacklist/status/"),
            *("checks/single/", "checks/service/", "notif-profiles/", "notif-selection/hosts/", "notifiers/"),
            *("notifiers/custom/", "notifiers/email/", "events/"),
        ]
    ),
    _NAMES,
    st.sampled_from(["", "/change-threshold", "/enabled"]),
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _NAMES
    | st.sampled_from(["team", "slack", "email", "log"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Interval", "NotifList", "VarOverrides", "slack", "email", "log", "url", "receivers", "port", "["]
            )
            | _NAMES,
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_VALUES = (
    st.binary(max_size=12)
    | st.sampled_from([b"true", b"false", b"0", b"-1", b"99999999999", b"999999999999999999999", b"[", b"/x", b"team"])
    | _NAMES.map(lambda text: text.encode("utf-8"))
    | _JSON.map(lambda value: json.dumps(value).encode())
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=12), st.booleans())
def test_whatever_the_keys_hold_none_is_dropped_and_the_result_is_a_configuration(
    given_keys: dict[str, bytes], with_all: bool
) -> None:
    keys = {PREFIX + key: value for key, value in given_keys.items()}
    keys = {**(whole_tree() if with_all else {}), **keys}
    check_nothing_is_lost(import_tree(keys, DIRECTORY), keys)


# ---------------------------------------------------------------------------------------------------------------


def test_thresholds_are_times_and_the_narrowest_one_comes_first() -> None:
    config = {name: value for name, value in CONFIG.items() if name.endswith("change-threshold")}
    found = options(config)
    assert (found["for"], found["recover_for"]) == ("120s", "120s")
    assert [(rule["rule"], rule["match"], rule["for"]) for rule in found["rules"]] == [
        ("node_down", {"node": "db1", "check": "serfHealth"}, "5s"),
        ("check_status", {"node": "db1", "service": "postgres", "check": "service:postgres"}, "0s"),
        ("check_status", {"check": "disk"}, "600s"),
        ("check_status", {"service": "web"}, "10s"),
        ("check_status", {"node": "build1"}, "300s"),
        ("node_down", {"node": "build1"}, "300s"),
    ]
    assert options(LOG_ONLY)["for"] == "60s"


def test_blacklists_are_ignored_and_statuses_are_silenced() -> None:
    found = options({name: value for name, value in CONFIG.items() if "blacklist" in name})
    assert found["ignore"] == [
        {"check": "re:[0-9]$"},
        {"check": "noisy"},
        {"node": "re:^build"},
        {"node": "old1"},
        {"service": "re:^_nomad-"},
        {"service": "legacy"},
        {"node": "db2", "service": "", "check": "disk"},
    ]
    assert [silence["match"]["severity"] for silence in found["silences"]] == ["critical", "warning"]


def test_checks_that_were_switched_off_stay_off() -> None:
    found = options({**CONFIG, "checks/enabled": "false"})
    assert found["rules"] == [{"rule": rule, "enabled": False} for rule in ("check_status", "node_down")]


def test_a_selection_tells_its_profile_and_nobody_else() -> None:
    assert told(CONFIG, node="n1", service="api") == ["slack-team", "pagerduty"]  # critical
    calm = {name: value for name, value in CONFIG.items() if not name.startswith("notif-selection/status")}
    assert told(calm, node="n1", service="api") == ["log", "email"]
    assert told(calm, node="build1", service="web") == ["slack-team", "pagerduty"]  # the service is asked first
    assert told(calm, node="build1") == [] and told(calm, node="lab7") == []
    assert told(calm, node="n1", service="infra-x") == ["slack-team", "pagerduty"]
    assert told(calm, node="n1", check="disk") == ["slack-team", "pagerduty"]


def test_an_exact_selection_comes_before_an_expression() -> None:
    config = {
        **LOG_ONLY,
        **SLACK,
        "notif-profiles/chat": '{"NotifList": {"slack": true}}',
        "notif-profiles/file": '{"NotifList": {"log": true}}',
        "notif-selection/hosts": '{"^db": "chat"}',
        "notif-selection/hosts/db1": "file",
    }
    assert told(config, node="db1") == ["log"] and told(config, node="db2") == ["slack"]


def test_without_a_profile_all_enabled_notifiers_are_told_once() -> None:
    config = {**LOG_ONLY, **SLACK}
    assert sorted(told(config, node="n1")) == ["log", "slack"]
    assert options(config)["route"]["repeat_every"] == "never"
    assert options({**config, "notif-profiles/default": '{"Interval": 15}'})["route"]["repeat_every"] == "900s"


def test_a_profile_whose_notifiers_have_no_equal_tells_somebody_else_and_says_so() -> None:
    config = {
        **SLACK,
        "notifiers/hipchat/enabled": "true",
        "notif-profiles/chat": '{"NotifList": {"hipchat": true}}',
        "notif-selection/hosts/db1": "chat",
    }
    assert told(config, node="db1") == ["slack"]
    assert (PROBLEM, "none of its notifiers could be taken over, so the default receiver is told.") in notes(
        imported(config), "notif-profiles/chat"
    )


def test_without_any_receiver_alerts_go_to_syslog() -> None:
    found = options({"notifiers/log/enabled": "false"})
    assert found["receivers"] == {"journal": {"type": "syslog"}} and found["route"]["receiver"] == "journal"


@pytest.mark.parametrize(
    ("change", "tls"),
    [
        ({}, "starttls"),
        ({"notifiers/email/port": "465"}, "implicit"),
        ({"notifiers/email/url": "localhost"}, "none"),
        ({"notifiers/email/port": "70000"}, "starttls"),
    ],
)
def test_mail_is_sent_with_the_tls_that_the_place_needs(change: dict[str, str], tls: str) -> None:
    email = options({**CONFIG, **change})["receivers"]["email"]
    assert email["tls"] == tls and email["from"] == "Consul <consul@example.com>" and email["to"] == ["ops@example.com"]
    assert email["template"]["subject"].startswith("[north] ")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("checks/change-threshold", "soon", "it is not a whole number"),
        ("checks/enabled", "maybe", "it is not true or false"),
        ("checks/blacklist/nodes", "^build", "it is not a JSON list of strings"),
        ("checks/blacklist/nodes", r'["[[:alpha:]]"]', "cannot be read by Python"),
        ("checks/blacklist/nodes", '["("]', "cannot be read by Python"),
        ("checks/blacklist/nodes", r'["a\u0000"]', "it is not a JSON list of strings"),
        ("checks/single/db1/change-threshold", "5", "it is not single/NODE/SERVICE/CHECK"),
        ("checks/blacklist/racks/r1", "", "it is no blacklist of nodes"),
        ("notif-profiles/default", "{", "it is not a JSON object"),
        ("notif-profiles/default", '{"Interval": "5"}', "Interval is not a whole number"),
        ("notif-profiles/default", '{"NotifList": ["log"]}', "NotifList is not an object of true and false"),
        ("notif-profiles/default", '{"NotifList": {"pigeon": true}}', "it names pigeon, which does not exist"),
        ("notif-profiles/default", '{"VarOverrides": {"slack": 1}}', "VarOverrides is not an object of objects"),
        ("notif-profiles/default", '{"Color": "red"}', "it has options that consul-alerts does not know"),
        ("notif-selection/hosts/x", "gone", "it names a profile that does not exist"),
        ("notif-selection/hosts", '["x"]', "it is not a JSON object of regular expressions"),
        ("notif-selection/hosts", '{"(": "team"}', "cannot be read by Python"),
        ("notifiers/slack/url", "hooks.slack.com", "it is no address of the form"),
        ("notifiers/slack/colour", "red", "consul-alerts has no such option"),
        ("notifiers/email/receivers", '["ops"]', "what is no mail address is left out"),
        (
            "notifiers/email/sender-email",
            "",
            "the notifier cannot work without a usable url, sender-email and receivers",
        ),
        ("notifiers/custom/sms", "send-sms", "it is not the absolute path of a program"),
        ("notifiers/http-endpoint/base-url", "https://[", "together they are no address"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_sentence_and_the_rest_is_translated(
    key: str, value: str, sentence: str
) -> None:
    result = imported({**CONFIG, key: value})
    found = [said for kind, said in notes(result, key) if kind == PROBLEM]
    assert any(sentence in said and said.endswith(".") for said in found), found
    assert "pagerduty" in made(result).receivers


def test_names_that_look_like_patterns_match_only_themselves() -> None:
    found = options({"checks/blacklist/nodes/db*": "", "checks/blacklist/checks/re:x": ""})
    assert found["ignore"] == [{"check": r"re:\Are:x\Z"}, {"node": r"re:\Adb\*\Z"}]


def test_a_changed_meaning_is_named() -> None:
    result = imported(CONFIG)
    for key in (
        "checks/change-threshold",
        "notif-profiles/team",
        "checks/blacklist/services/legacy",
        "notifiers/email/url",
    ):
        assert CHANGED in dict(notes(result, key)), key
