# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore into servers of another version. A real 1.8.7 takes it; what 1.23-dev made of the same snapshot is read back from it."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from tests.lab.ansible import run_module
from tests.lab.consul import ROOT, Lab
from tests.lab.faults import Proxy

FIXTURES = ROOT / "tests" / "fixtures" / "consul-versions"


def test_a_restore_that_a_newer_leader_wrote_in_its_form_is_verified_and_leaves_its_receipt(
    lab: Lab, tmp_path: Path
) -> None:
    datacenter = lab.datacenter("dc1")
    path = shutil.copy(FIXTURES / "1.8.7.snap", tmp_path / "old.snap")
    newer = (FIXTURES / "1.8.7-restored-into-1.23-dev.snap").read_bytes()
    with Proxy(datacenter.url, datacenter.servers[0].address) as proxy:
        options: dict[str, t.Any] = {
            "url": proxy.url,
            "state": "restored",
            "path": str(path),
            "touch_replicated": False,
        }

        def sent(method: str, path: str) -> None:
            if method == "PUT" and path.startswith("/v1/snapshot"):
                proxy.replay = lambda method, path: (
                    (200, {}, newer) if method == "GET" and path.startswith("/v1/snapshot") else None
                )

        proxy.after_forward = sent
        result = run_module("consul_snapshot", **options)
        assert (result["action"], result["verified"], result["wrong"]) == ("restored", True, [])
        assert result["migrated"]["ACLToken"] == 5 and result["migrated"]["Intention"] == 1
        assert [(row["table"], row["change"]) for row in result["written_since"]] == [("ACLToken", "added")]
    receipt = datacenter.get("/v1/kv/consulops/restore")
    assert len(receipt) == 1
    # The receipt is in the state that is read now.
    again = run_module("consul_snapshot", url=datacenter.url, state="restored", path=str(path))
    assert (again["action"], again["changed"]) == ("unchanged", False)
