# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``consulops alert import-consul-alerts`` with a real Consul that holds every key of consul-alerts."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.lab import keys
from tests.lab.agents import run_command
from tests.lab.consul import Datacenter
from tests.lab.consul_alerts import SECRET, whole_tree


def test_the_keys_become_a_configuration_that_the_agent_accepts(dc1: Datacenter, bundle: Path, tmp_path: Path) -> None:
    tree = whole_tree()
    command = ("alert", "import-consul-alerts", "--url", dc1.url)
    empty = run_command(bundle, *command)
    assert empty.returncode == 2 and "there is no key below consul-alerts/" in empty.stderr
    keys.write(dc1, tree)
    before = keys.read(dc1, "consul-alerts/")
    output, secrets = tmp_path / "agent.json", tmp_path / "secrets"

    listed = run_command(bundle, *command)
    assert listed.returncode == 0 and json.loads(listed.stdout)["agent"] == "alerting"
    assert "names files that this run has not written: /etc/consulops/alerting/email.password" in listed.stderr
    assert SECRET not in listed.stdout + listed.stderr

    done = run_command(bundle, *command, "--output", output, "--secrets-dir", secrets)
    assert done.returncode == 0 and done.stdout == f"written: {output}\nwritten: 10 secrets into files of {secrets}\n"
    assert "consulops: no equal: consul-alerts/config/notifiers/hipchat/" in done.stderr
    assert SECRET not in done.stdout + done.stderr + output.read_text()
    assert (secrets / "email.password").read_text() == f"{SECRET}-mail\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
    assert keys.read(dc1, "consul-alerts/") == before

    # The type aws_sns needs a library that is not in the bundle, exec a program that is not here.
    configuration = json.loads(output.read_text())
    for name in ("awssns", "sms"):
        del configuration["options"]["receivers"][name]
    usable = tmp_path / "usable.json"
    usable.write_text(json.dumps(configuration))
    checked = run_command(bundle, "check-config", usable)
    assert checked.returncode == 0, checked.stderr

    again = run_command(bundle, *command, "--output", output, "--secrets-dir", secrets)
    assert again.returncode == 0  # the same files
    output.write_text("{}")
    refused = run_command(bundle, *command, "--output", output, "--secrets-dir", secrets)
    assert refused.returncode == 3 and output.read_text() == "{}" and "exists and is different" in refused.stderr

    as_data = json.loads(run_command(bundle, *command, "--json").stdout)
    noted = {key for note in as_data["notes"] for key in note["keys"]}
    assert "consul-alerts/config/typo" in noted and len(as_data["missing_secret_files"]) == 10
    keys.delete(dc1, *tree)


def test_a_token_that_may_not_read_the_keys_is_named(secured: Datacenter, bundle: Path) -> None:
    done = run_command(bundle, "alert", "import-consul-alerts", "--url", secured.url)
    assert done.returncode == 1 and "denied" in done.stderr.lower() and done.stdout == ""
