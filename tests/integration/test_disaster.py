# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page for disasters: its commands, as they stand there, bring an empty Consul back from a real object store."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pyrage
import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._cli.main import main

from tests.lab import keys
from tests.lab.agents import bare
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
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


def reset_bootstrap(datacenter: Datacenter) -> str:
    """Reset the ACL bootstrap as the page says, and return the new management token."""

    def bootstrap() -> requests.Response:
        return requests.put(f"{datacenter.url}/v1/acl/bootstrap", timeout=10)

    refused = bootstrap()
    found = re.search(r"reset index: (\d+)", refused.text)
    assert refused.status_code == 403 and found, refused.text
    (datacenter.leader().directory / "data" / "acl-bootstrap-reset").write_text(f"{found[1]}\n", encoding="ascii")
    answer = bootstrap()
    answer.raise_for_status()
    return str(answer.json()["SecretID"])


@pytest.mark.parametrize("way", ["the token of the new servers", "reset of the bootstrap"])
def test_without_a_token_of_the_snapshot_a_new_one_is_valid_after_the_restore(
    tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "kept"
    directory.mkdir(mode=0o700)
    with Lab(tmp_path / "old") as lab:
        before = lab.datacenter("tokenless", acl=True)
        keys.write(before, {f"app/{number}": "value" for number in range(20)})
        wanted = keys.read(before)
        (tmp_path / "token").write_text(before.token or "", encoding="ascii")
        save = ["snapshot", "save", f"{directory}/", "--url", before.url, "--token-file", str(tmp_path / "token")]
        assert main(save) == 0
    with Lab(tmp_path / "new") as lab:
        after = lab.datacenter("tokenless", acl=True, token=str(uuid.uuid4()))
        (tmp_path / "new-token").write_text(after.token or "", encoding="ascii")
        (file,) = directory.glob("*.snap")
        restore = ["snapshot", "restore", str(file), "--url", after.url, "--token-file", str(tmp_path / "new-token")]
        restore += ["--safety-path", str(tmp_path / "safety"), "--yes"]
        (tmp_path / "safety").mkdir(mode=0o700)
        assert main(restore) == 3 and "lost_token" in capsys.readouterr().err
        assert keys.read(after) == {}
        assert main([*restore, "--accept", "lost_token"]) == 0
        if way == "reset of the bootstrap":
            after.token = reset_bootstrap(after)
        assert eventually(lambda: keys.read(after) == wanted, what="a token that nobody had before reads all keys")
