# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops.failover.failover`` and ``failback`` as an operator runs them, with replication agents and writers."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from tests.lab.ansible import run_our_playbook
from tests.lab.consul import Datacenter, Lab
from tests.lab.keys import read, write
from tests.lab.replicating import Replicators, wait_for_equal, wait_for_following, wait_for_status

from .test_failover import back, forth, register


def variables_of(old: Datacenter, new: Datacenter, tmp_path: Path) -> dict[str, t.Any]:
    return {
        "consul_failover_old": {"url": old.url, "datacenter": old.name, "timeout": 2},
        "consul_failover_new": {"url": new.url, "datacenter": new.name},
        "consul_failover_replication": "play-forth",
        "consul_failover_reversed_by": "play-back",
        "consul_failover_prefixes": ["play/"],
        "consul_failover_quiet": "500ms",
        "consul_failover_snapshot_path": f"{tmp_path}/snapshots/",
        "consul_failover_report": f"{tmp_path}/report.json",
    }


def test_a_datacenter_fails_and_comes_back(
    replicators: Replicators, west: Datacenter, own_lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "snapshots").mkdir()
    old = own_lab.datacenter("first")
    variables = variables_of(old, west, tmp_path)
    write(old, {f"play/{name}": "copied" for name in ("same", "west", "late", "both")})
    agent = replicators.start(forth("play", old, west))
    wait_for_following(agent, "play-forth")
    wait_for_equal(old, west, "play/")
    agent.stop()
    write(old, {"play/late": "by first", "play/both": "by first", "play/orders/1": "by first"})
    old.servers[0].pause()
    try:
        checked = run_our_playbook(tmp_path / "run", "failover", variables, "--check")
        assert checked.returncode == 0, checked.stdout
        said = " ".join(checked.stdout.split())
        assert "first does not answer" in said and "Step 3: promote west with generation 2" in said, said
        assert "It is refused: It is not confirmed" in said and register(west, "play-forth")["generation"] == 1
        refused = run_our_playbook(tmp_path / "run", "failover", variables)
        assert refused.returncode != 0 and "not confirmed" in " ".join(refused.stdout.split())
        assert register(west, "play-forth")["generation"] == 1
        confirmed = {**variables, "consul_failover_confirm": "west", "consul_failover_max_loss": "unknown"}
        done = run_our_playbook(tmp_path / "run", "failover", confirmed)
        assert done.returncode == 0, done.stdout
        assert register(west, "play-forth") == {"generation": 2, "active": "play-back"}
        assert list((tmp_path / "snapshots").glob("*.snap"))
        report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert report["took_seconds"] >= 0 and report["loss"]["until"], report
        again = run_our_playbook(tmp_path / "run", "failover", confirmed)
        assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
        write(west, {"play/west": "by west", "play/both": "by west"})
    finally:
        old.servers[0].resume()
    # It is back, and what it wrote alone is kept until somebody decides.
    agent = replicators.start(back("play", old, west, 2))
    wait_for_status(agent, "play-back", lambda one: one["conflicts"]["count"] == 2, "the conflicts are shown")
    home = {**variables, "consul_failover_confirm": "first", "consul_failback_export_path": f"{tmp_path}/alone.jsonl"}
    undecided = run_our_playbook(tmp_path / "run", "failback", home)
    assert undecided.returncode != 0 and "play/late" in undecided.stdout, undecided.stdout
    assert register(west, "play-forth")["generation"] == 2
    home["consul_failback_decisions"] = [
        {"prefix": "play/", "wins": "old"},
        {"prefix": "play/both", "wins": "new"},
    ]
    home["consul_failback_export_path"] = f"{tmp_path}/alone-2.jsonl"
    returned = run_our_playbook(tmp_path / "run", "failback", home)
    assert returned.returncode == 0, returned.stdout
    for datacenter, name in ((west, "play-forth"), (old, "play-back")):
        assert register(datacenter, name) == {"generation": 3, "active": "play-forth"}
    expected = {
        "play/same": b"copied",
        "play/west": b"by west",
        "play/late": b"by first",
        "play/both": b"by west",
        "play/orders/1": b"by first",
    }
    assert {key: value for key, (value, _flags) in read(old, "play/").items()} == expected
    assert {key: value for key, (value, _flags) in read(west, "play/").items()} == expected
    once_more = run_our_playbook(tmp_path / "run", "failback", home)
    assert once_more.returncode == 0 and "changed=0" in once_more.stdout, once_more.stdout
    # The first arrangement again.
    replicators.reload(agent, forth("play", old, west, 3))
    wait_for_following(agent, "play-forth")
    write(old, {"play/west": "by first"})
    wait_for_equal(old, west, "play/")
