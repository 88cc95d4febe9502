# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of consul-alerts: one tree in which each of its keys is set. Every secret contains SECRET."""

from __future__ import annotations

import json
import typing as t

SECRET = "s3cret"
NOTIFIERS: dict[str, dict[str, t.Any]] = {
    "log": {"enabled": "true", "path": "/var/log/alerts.log"},
    "email": {
        **{"enabled": "true", "cluster-name": "north", "url": "mail.example.com", "port": "2525", "username": "consul"},
        **{"password": f"{SECRET}-mail", "sender-alias": "Consul", "sender-email": "consul@example.com"},
        **{
            "receivers": '["ops@example.com"]',
            "template": "/etc/mail.tpl",
            "one-per-alert": "false",
            "one-per-node": "1",
        },
    },
    "slack": {
        **{"enabled": "true", "cluster-name": "north", "url": f"https://hooks.slack.com/services/{SECRET}"},
        **{"channel": "#ops", "username": "consul", "icon-url": "https://example.com/i.png", "icon-emoji": ":fire:"},
        "detailed": "true",
    },
    "mattermost": {
        **{"enabled": "true", "cluster-name": "north", "url": "https://chat.example.com", "username": "consul"},
        **{"password": f"{SECRET}-v3", "team": "ops", "channel": "town-square", "detailed": "true"},
    },
    "mattermost-webhook": {
        **{"enabled": "true", "cluster-name": "north", "url": f"https://chat.example.com/hooks/{SECRET}"},
        **{"channel": "town-square", "username": "consul", "icon-url": "https://example.com/i.png"},
    },
    "pagerduty": {
        **{"enabled": "true", "service-key": f"{SECRET}-pd", "client-name": "consul"},
        **{"client-url": "https://consul.example.com", "max-retry": "3", "retry-base-interval": "30"},
    },
    "hipchat": {
        **{"enabled": "true", "cluster-name": "north", "room-id": "1", "auth-token": f"{SECRET}-hc"},
        **{"base-url": "https://api.hipchat.com", "from": "consul"},
    },
    "opsgenie": {"enabled": "true", "cluster-name": "north", "api-key": f"{SECRET}-og"},
    "awssns": {
        **{"enabled": "true", "cluster-name": "north", "region": "eu-central-1", "template": "/etc/sns.tpl"},
        "topic-arn": "arn:aws:sns:eu-central-1:123456789012:alerts",
    },
    "victorops": {"enabled": "true", "api-key": f"{SECRET}-vo", "routing-key": "dba"},
    "influxdb": {
        **{"enabled": "true", "host": "influx.example.com:8086", "username": "consul", "password": f"{SECRET}-influx"},
        **{"database": "alerts", "series-name": "consul-alerts"},
    },
    "http-endpoint": {
        **{"enabled": "true", "cluster-name": "north", "base-url": f"https://me:{SECRET}-pw@hooks.example.com"},
        **{"endpoint": f"/consul?key={SECRET}", "payload": '{"text": "{{.SystemStatus}}"}'},
    },
    "ilert": {"enabled": "true", "api-key": f"{SECRET}-ilert", "incident-key-template": "{{.Node}}"},
}
CONFIG: dict[str, str] = {
    "checks/enabled": "true",
    "checks/change-threshold": "120",
    "checks/single/db1/postgres/service:postgres/change-threshold": "0",
    "checks/single/db1/_/serfHealth/change-threshold": "5",
    "checks/check/disk/change-threshold": "600",
    "checks/service/web/change-threshold": "10",
    "checks/node/build1/change-threshold": "300",
    "checks/blacklist/nodes/old1": "",
    "checks/blacklist/services/legacy": "",
    "checks/blacklist/checks/noisy": "",
    "checks/blacklist/status/warning": "",
    "checks/blacklist/single/db2/_/disk": "",
    "checks/blacklist/nodes": '["^build"]',
    "checks/blacklist/services": '["^_nomad-"]',
    "checks/blacklist/checks": '["[0-9]$"]',
    "checks/blacklist/status": '["^crit"]',
    "events/enabled": "true",
    "events/handlers": '["/usr/local/bin/on-event"]',
    "notif-profiles/default": '{"Interval": 10, "NotifList": {"log": true, "email": true}}',
    "notif-profiles/team": json.dumps(
        {
            "Interval": 60,
            "NotifList": {"slack": True, "pagerduty": True},
            "VarOverrides": {"slack": {"channel": "#team", "url": f"https://hooks.slack.com/services/{SECRET}-team"}},
        }
    ),
    "notif-profiles/nobody": '{"NotifList": {"log": false}}',
    "notif-selection/services/web": "team",
    "notif-selection/checks/disk": "team",
    "notif-selection/hosts/build1": "nobody",
    "notif-selection/status/critical": "team",
    "notif-selection/services": '{"^infra-": "team"}',
    "notif-selection/checks": '{"^mem": "nobody"}',
    "notif-selection/hosts": '{"^lab": "nobody"}',
    "notif-selection/status": '{"^warn": "nobody"}',
    "notifiers/custom/sms": "/usr/local/bin/send-sms",
    **{f"notifiers/{name}/{key}": text for name, values in NOTIFIERS.items() for key, text in values.items()},
}
STATE = {
    "checks/db1/_/serfHealth": '{"Current": "passing"}',
    "checks/db1/web/service:web": '{"Current": "critical"}',
    "reminders/db1/service:web": '{"Node": "db1"}',
    "leader": "consul-alerts-1",
}


def tree(config: t.Mapping[str, str], prefix: str = "consul-alerts") -> dict[str, bytes]:
    """Return the keys with these values below ``config/``."""
    return {f"{prefix}/config/{name}": value.encode() for name, value in config.items()}


def whole_tree(prefix: str = "consul-alerts") -> dict[str, bytes]:
    """Return a tree with every key that consul-alerts knows, and some that it does not."""
    others = {"config/": "", "config/notifiers/pigeon/enabled": "true", "config/typo": "1", "elsewhere": "1"}
    return {
        **tree(CONFIG, prefix),
        **{f"{prefix}/{name}": value.encode() for name, value in {**STATE, **others}.items()},
    }
