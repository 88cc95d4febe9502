# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rehearsals on a real systemd host: in a transient unit as root, and by the service of the guide for a user without rights."""

from __future__ import annotations

import json
import re
import shutil
import typing as t

import pytest

from tests.lab.agents import make_bundle
from tests.lab.consul import ROOT, consul_binary, eventually
from tests.lab.hosts import Host, Hosts

BUNDLE = "/usr/local/lib/consulops/consulops.pyz"
SNAPSHOT = "/root/rehearsed.snap"
COMMAND = ("/usr/bin/python3", "-I", BUNDLE, "snapshot", "rehearse", SNAPSHOT)
GUIDE = ROOT / "docs" / "rehearsals.md"
# Sends a snapshot to the service, as the agent does.
CLIENT = f"""
import json, sys
sys.path.insert(0, {BUNDLE!r})
from pathlib import Path
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal import service
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.rehearsal.rehearse import RehearsalRequest
request = RehearsalRequest(Path(sys.argv[1]), "the snapshot", Path("/tmp"))
print(json.dumps(service.rehearse_by_service(service.DEFAULT_SOCKET, request, lambda step: None, lambda: True)))
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Host]:
    """A host with the command, a Consul program that does not run, and a snapshot."""
    directory = tmp_path_factory.mktemp("rehearsal")
    with Hosts(directory / "hosts", ["h1"]) as hosts:
        made = hosts["h1"]
        library = made.root / BUNDLE[1:]
        library.parent.mkdir(parents=True)
        shutil.copy(make_bundle(directory), library)
        shutil.copy(consul_binary(), made.root / "usr/bin/consul")
        shutil.copy(ROOT / "tests/fixtures/consul-versions/1.8.7.snap", made.root / SNAPSHOT[1:])
        made.run("chmod", "0600", SNAPSHOT)
        yield made


def left(host: Host) -> str:
    """Return what is left of a rehearsal: units, processes and private files."""
    look = (
        "systemctl list-units --all --no-legend 'consulops-rehearsal-*' 'consulops-rehearsal@*'",
        "pgrep -ax consul",
        "ls -d /tmp/.consulops* /tmp/systemd-private-*consulops-rehearsal* 2>/dev/null",
    )
    found = host.run("sh", "-c", "; ".join(look), check=False)
    return found.stdout


def test_root_rehearses_in_a_unit_that_can_reach_nothing(host: Host) -> None:
    said = host.run(*COMMAND, "--json").stdout
    result = json.loads(said[said.index("{") :])
    assert result["verified"] and result["isolation"] == "a unit of systemd"
    assert {row["table"]: row["restored"] for row in result["tables"]}["KVS"] > 0
    assert left(host) == ""


def test_a_rehearsal_that_is_killed_leaves_nothing_on_the_host(host: Host) -> None:
    script = f"""{" ".join(COMMAND)} 2>/run/steps & pid=$!
until grep -q restoring /run/steps; do kill -0 $pid || exit 1; done
systemctl list-units --no-legend 'consulops-rehearsal-*' | grep -q running || exit 2
kill -9 $pid"""
    host.run("bash", "-c", script)
    eventually(lambda: left(host) == "", what="nothing is left")


def test_the_units_of_the_guide_rehearse_for_a_user_without_rights(host: Host) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```ini\n# (/etc/systemd/system/\S+)\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 2
    for path, content in blocks:
        host.run("install", "-m", "644", "/dev/stdin", path, stdin=content)
    host.run("useradd", "--system", "--no-create-home", "consulops")
    host.run("install", "-o", "consulops", "-m", "600", SNAPSHOT, "/var/tmp/one.snap")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--now", "consulops-rehearsal.socket")
    client = ("/usr/bin/python3", "-I", "-c", CLIENT, "/var/tmp/one.snap")
    done = host.run("runuser", "-u", "consulops", "--", *client, check=False)
    journal = host.run("journalctl", "-q", "-u", "consulops-rehearsal@*", check=False).stdout
    assert done.returncode == 0, f"{done.stdout}\n{journal}"
    result = json.loads(done.stdout)
    assert result["verified"] and result["isolation"] == "the unit that this runs in"
    eventually(lambda: left(host) == "", what="the unit is gone")
    # Another user may not.
    refused = host.run(
        "runuser", "-u", "nobody", "--", "/usr/bin/python3", "-I", "-c", CLIENT, "/etc/hostname", check=False
    )
    assert refused.returncode != 0 and "Permission denied" in refused.stdout
