# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``consulops replicate import-config`` on files and directories of consul-replicate."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.lab.agents import run_command

SECRET = "5ec2e7"


def test_files_become_a_configuration_with_its_secrets_beside_it(bundle: Path, tmp_path: Path) -> None:
    directory = tmp_path / "consul-replicate.d"
    (directory / "more").mkdir(parents=True)
    (directory / "more" / "prefixes").write_text('prefix {\n  source = "app/@dc1:mirror/app/"\n}\n', encoding="utf-8")
    (directory / "base.json").write_text(json.dumps({"consul": {"token": SECRET}}), encoding="utf-8")
    output, secrets = tmp_path / "agent.json", tmp_path / "secrets"

    listed = run_command(bundle, "replicate", "import-config", directory)
    assert listed.returncode == 0 and json.loads(listed.stdout)["agent"] == "replication"
    assert "has not written: /etc/consulops/replication/token" in listed.stderr

    done = run_command(bundle, "replicate", "import-config", directory, "--output", output, "--secrets-dir", secrets)
    assert done.returncode == 0 and done.stdout.startswith(f"written: {output}\nwritten: 1 secret into files")
    assert SECRET not in done.stdout + done.stderr + output.read_text()
    assert (secrets / "token").read_text() == f"{SECRET}\n"
    assert stat.S_IMODE((secrets / "token").stat().st_mode) == 0o600
    found = json.loads(output.read_text())
    assert found["options"]["sets"]["dc1"]["prefixes"] == [{"source": "app/", "destination": "mirror/app/"}]

    nested = tmp_path / "nested.json"
    nested.write_text(json.dumps({"prefix": ["a/@dc1:x/", "b/@dc1:x/y/"]}), encoding="utf-8")
    refused = run_command(bundle, "replicate", "import-config", nested, "--output", tmp_path / "never")
    assert refused.returncode == 2 and "overlap" in refused.stderr and not (tmp_path / "never").exists()

    (directory / "base.json").write_text("consul {", encoding="utf-8")
    cut = run_command(bundle, "replicate", "import-config", directory)
    assert cut.returncode == 2 and f"{directory}/base.json: line " in cut.stderr
    missing = run_command(bundle, "replicate", "import-config", tmp_path / "nowhere")
    assert missing.returncode == 2 and "cannot be read: No such file or directory" in missing.stderr
