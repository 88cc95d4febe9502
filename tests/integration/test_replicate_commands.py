# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands ``consulops replicate``: without a file for who knows consul-replicate, and those that steer the agent."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.lab import keys
from tests.lab.agents import run_command
from tests.lab.consul import Datacenter
from tests.lab.replicating import Replicators, a_set, wait_for_equal, wait_for_following, wait_for_status

Sides = tuple[Datacenter, Datacenter]


def replicate(bundle: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run_command(bundle, "replicate", *words)


def test_a_prefix_is_copied_in_the_notation_of_consul_replicate(bundle: Path, federation: Sides) -> None:
    east, west = federation
    keys.write(east, {"noted/a": "1", "noted/secret/x": "2", "noted/5": "3", "noted/50": "4"})
    words = (
        *("--prefix", "noted/@east:copied/", "--exclude", "noted/secret/", "--exclude", "noted/5"),
        *("--url", west.url, "--name", "noted"),
    )
    planned = replicate(bundle, "plan", *words, "--exit-code")
    assert planned.returncode == 5 and "noted/ -> copied/" in planned.stdout and keys.read(west, "copied/") == {}
    done = replicate(bundle, "once", *words)
    assert done.returncode == 0 and "east -> west" in done.stdout
    assert list(keys.read(west, "copied/")) == ["copied/a"]
    # By the address of each side, without a federation.
    sides = ("--source-url", east.url, "--destination-url", west.url, "--name", "direct")
    assert replicate(bundle, "once", "--prefix", "noted/:direct/", *sides).returncode == 0
    assert len(keys.read(west, "direct/")) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "name what to replicate: --prefix app/@dc1"),
        (("--exclude", "x"), "name what to replicate"),
        (("--prefix", "a@b@c"), "is not SOURCE[@DATACENTER][:DESTINATION]"),
        (("--prefix", "a/@dc1", "--prefix", "b/@dc2"), "one run copies from one datacenter, not from dc1, dc2"),
        (("--prefix", "a/@dc1", "--exclude", "b/"), "--exclude 'b/' is below no prefix"),
        (("--prefix", "a@dc1"), "could mean a key, a folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(bundle: Path, words: tuple[str, ...], sentence: str) -> None:
    done = replicate(bundle, "once", *words)
    assert done.returncode == 2 and sentence in done.stderr


def test_prefixes_of_a_file_and_of_the_command_line_are_not_mixed(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.json"
    path.write_text(json.dumps({"prefixes": ["app/"]}), encoding="utf-8")
    both = replicate(bundle, "once", "--config", path, "--prefix", "b/@dc1")
    assert both.returncode == 2 and "cannot be combined" in both.stderr
    exclude = replicate(bundle, "once", "--config", path, "--exclude", "app/x")
    assert exclude.returncode == 2 and "--exclude belongs to --prefix" in exclude.stderr


def test_an_agent_is_shown_frozen_thawed_and_its_deletions_acknowledged(
    bundle: Path, replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    keys.write(east, {f"steer/{number:02d}": "v" for number in range(20)})
    at_west = ("--url", west.url)
    empty = replicate(bundle, "status", "--from-consul", *at_west)
    assert empty.returncode == 0 and "no set is stored here" in empty.stdout
    agent = replicators.start({"steer": a_set(east, west, "steer/", max_deletes=1, max_delete_percent=100)})
    wait_for_following(agent, "steer")
    shown = replicate(bundle, "status", "--agent", agent.url)
    assert shown.returncode == 0 and "following" in shown.stdout and ", equal" in shown.stdout
    unknown = replicate(bundle, "status", "stear", "--agent", agent.url)
    assert unknown.returncode == 2 and "known are steer" in unknown.stderr

    frozen = replicate(bundle, "freeze", "steer", "--reason", "maintenance", "--author", "ann", *at_west)
    assert frozen.returncode == 0 and "nothing is written" in frozen.stdout
    wait_for_status(agent, "steer", lambda one: one["state"] == "frozen", "it is frozen")
    # A run of the module with that name is frozen too.
    once = replicate(
        bundle,
        "once",
        "--prefix",
        "steer/",
        "--source-url",
        east.url,
        "--destination-url",
        west.url,
        "--name",
        "steer",
    )
    assert once.returncode == 3 and "is frozen by ann, maintenance" in once.stderr
    assert "frozen by ann, maintenance" in replicate(bundle, "status", "--from-consul", *at_west).stdout
    assert "is thawed" in replicate(bundle, "thaw", "steer", *at_west).stdout
    assert "was not frozen" in replicate(bundle, "thaw", "steer", *at_west).stdout
    wait_for_following(agent, "steer")

    keys.delete(east, "steer/00", "steer/01", "steer/02")

    def is_paused(one: dict[str, t.Any]) -> bool:  # the first may have been deleted before the others came
        return bool(one["paused_deletes"]["count"]) and one["paused_deletes"]["count"] + one["written"]["deleted"] == 3

    paused = wait_for_status(agent, "steer", is_paused, "they are paused")
    digest = paused["paused_deletes"]["digest"]
    assert digest in replicate(bundle, "status", "--agent", agent.url).stdout
    wrong = replicate(bundle, "ack", "steer", "abc", *at_west)
    assert wrong.returncode == 2 and "is not the digest of a plan" in wrong.stderr
    assert replicate(bundle, "ack", "steer", digest, *at_west).returncode == 0
    wait_for_equal(east, west, "steer/")
    agent.stop()
    stored = json.loads(replicate(bundle, "status", "--json", "--agent", agent.url, *at_west).stdout)
    assert (stored["source"], stored["sets"]["steer"]["state"]) == ("consul", "stopped")
    nobody = replicate(bundle, "freeze", "", "--reason", "x", *at_west)
    assert nobody.returncode == 2 and "is not the name of a set" in nobody.stderr
