# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page for disasters: its commands, as they stand there, bring an empty Consul back from a real object store."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyrage
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main

from tests.lab import keys
from tests.lab.agents import bare
from tests.lab.consul import ROOT, Lab
from tests.lab.fill import fill
from tests.lab.object_stores import SeaweedFS

PAGE = (ROOT / "docs/disaster.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the commands of the page in order, each as one line."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def run_page(environment: dict[str, str], bundle: Path, tools: Path) -> list[str]:
    """Run the commands of the page as a shell does, and return what each printed."""
    tools.mkdir()
    (tools / "consulops").write_text(f'#!/bin/sh\nexec {sys.executable} -I {bundle} "$@"\n', encoding="ascii")
    (tools / "consulops").chmod(0o755)
    outputs = []
    for command in commands():
        done = subprocess.run(
            ["sh", "-c", command],
            env=bare({**environment, "PATH": f"{tools}:/usr/bin:/bin"}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    return outputs


def test_the_commands_of_the_page_bring_a_datacenter_back_from_a_bucket_and_an_identity(
    own_lab: Lab, seaweedfs: SeaweedFS, bundle: Path, tmp_path: Path
) -> None:
    before = own_lab.datacenter("lost", acl=True)
    fill(before, keys=200)
    url = f"s3://{seaweedfs.bucket('disaster')}/lost/"
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n", encoding="ascii")
    (tmp_path / "token").write_text(before.token or "", encoding="ascii")
    environment = {
        "STORE": url,
        "REGION": "us-east-1",
        "ENDPOINT": seaweedfs.url,
        "CA_FILE": seaweedfs.ca_file,
        "CREDENTIALS": seaweedfs.credentials(),
        "IDENTITY": str(tmp_path / "identity"),
        "DATACENTER": "lost",
        "SAFETY": str(tmp_path / "safety"),
        "CONSUL_HTTP_TOKEN_FILE": str(tmp_path / "token"),
    }
    assert set(re.findall(r"(\w+)=", PAGE[: PAGE.index("What is in the bucket")])) == {*environment, "CONSUL_HTTP_ADDR"}
    save = ["snapshot", "save", url, "--url", before.url, "--token-file", str(tmp_path / "token")]
    store = ["--store-endpoint", seaweedfs.url, "--store-ca-file", seaweedfs.ca_file]
    store += ["--store-credentials-file", seaweedfs.credentials()]
    assert main([*save, *store, "--recipients", str(identity.to_public())]) == 0
    wanted = keys.read(before)
    before.servers[0].stop()

    with Lab(tmp_path / "new") as lab:
        after = lab.datacenter("lost", acl=True, token=before.token)
        assert keys.read(after) == {}
        outputs = run_page({**environment, "CONSUL_HTTP_ADDR": after.url}, bundle, tmp_path / "bin")
        assert keys.read(after) == wanted
    listed, verified, inspected, _mkdir, planned, restored, again = outputs
    assert "lost" in listed and " verified " in verified and "KVS" in inspected
    assert planned.startswith("restore: the live state differs")
    assert "verified: the state equals the snapshot" in restored
    assert again.startswith("unchanged"), again
