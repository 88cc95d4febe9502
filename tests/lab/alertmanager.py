# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts real Alertmanagers that form a cluster, and stops exactly those, by pid."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import requests

from tests.workshop import debian

from .ready_process import ReadyProcess

HTTP, CLUSTER = 9093, 9094


class Alertmanager(ReadyProcess):
    """One Alertmanager on a loopback address of its own. It tells ``webhook`` of every alert at once."""

    def __init__(self, address: str, directory: Path, webhook: str, peer: str = "") -> None:
        self.peer_address = f"{address}:{CLUSTER}"
        directory.mkdir(parents=True)
        route = {
            "receiver": "hook",
            "group_by": ["alertname", "datacenter"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        }
        config = {"route": route, "receivers": [{"name": "hook", "webhook_configs": [{"url": webhook}]}]}
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too
        binary = debian.alertmanager()
        # Debian's has its templates in a file; others bring them along.
        templates = binary.parents[1] / "share/prometheus/alertmanager/default.tmpl"
        command = [
            str(binary),
            *([f"--template.default={templates}"] if templates.exists() else []),
            f"--config.file={directory}/config.json",
            f"--storage.path={directory}/data",
            f"--web.listen-address={address}:{HTTP}",
            f"--cluster.listen-address={self.peer_address}",
            f"--cluster.advertise-address={self.peer_address}",
            "--cluster.settle-timeout=0s",
            "--cluster.peer-timeout=2s",
            *([f"--cluster.peer={peer}"] if peer else []),
        ]
        super().__init__(f"http://{address}:{HTTP}", directory, command)

    def alerts(self) -> list[dict[str, t.Any]]:
        """Return the alerts that it holds for active."""
        found = requests.get(f"{self.url}/api/v2/alerts", timeout=5).json()
        return sorted(found, key=lambda one: str(sorted(one["labels"].items())))
