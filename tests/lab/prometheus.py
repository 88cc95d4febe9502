# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts a real Prometheus that scrapes agents, and runs promtool on rules."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import requests

from tests.workshop import debian

from .consul import ROOT
from .ready_process import ReadyProcess

HTTP = 9090
RULES = ROOT / "extensions" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "extensions" / "prometheus" / "dashboard.json"


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    program = debian.prometheus().with_name("promtool")
    return subprocess.run(
        [program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


class Prometheus(ReadyProcess):
    """One Prometheus on a loopback address of its own. It reads ``scrape`` (entries of scrape_configs) every half second."""

    def __init__(self, address: str, directory: Path, scrape: list[dict[str, t.Any]]) -> None:
        directory.mkdir(parents=True)
        every = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        config = {"global": every, "rule_files": [str(RULES)], "scrape_configs": scrape}
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too
        command = [
            str(debian.prometheus()),
            f"--config.file={directory}/config.json",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address={address}:{HTTP}",
        ]
        super().__init__(f"http://{address}:{HTTP}", directory, command)

    def query(self, expression: str) -> list[dict[str, t.Any]]:
        """Return what an expression gives now: entries with ``metric`` (labels) and ``value``. AssertionError if it is wrong."""
        answer = requests.get(f"{self.url}/api/v1/query", {"query": expression}, timeout=10).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, t.Any]] = answer["data"]["result"]
        return found

    def targets(self) -> dict[str, str]:
        """Return the health of each target (up, down or unknown), and its last error, by address."""
        answer = requests.get(f"{self.url}/api/v1/targets", timeout=10).json()
        return {
            one["labels"]["instance"]: f"{one['health']} {one['lastError']}".strip()
            for one in answer["data"]["activeTargets"]
        }
