# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promoting a datacenter and failing back: the agents of two real datacenters agree on one direction, whoever learns of it first."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._replication import control

from tests.lab.agents import run_command
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.keys import read, write
from tests.lab.replicating import (
    Replicators,
    a_set,
    client_of,
    wait_for_equal,
    wait_for_following,
    wait_for_status,
)

OPTIONS: dict[str, t.Any] = {"max_delete_percent": 100, "on_conflict": "overwrite"}


def there(east: Datacenter, west: Datacenter, generation: int, prefix: str = "app/") -> dict[str, t.Any]:
    """Return the sets of a configuration in which east is copied to west."""
    return {"there": a_set(east, west, prefix, reverses="back", generation=generation, **OPTIONS)}


def back(east: Datacenter, west: Datacenter, generation: int, prefix: str = "app/") -> dict[str, t.Any]:
    """Return the sets of a configuration in which west is copied to east."""
    return {"back": a_set(west, east, prefix, reverses="there", generation=generation, **OPTIONS)}


def test_a_datacenter_is_promoted_and_fails_back_host_by_host(
    replicators: Replicators, east: Datacenter, west: Datacenter, bundle: Path
) -> None:
    write(east, {"app/1": "by east", "app/2": "by east"})
    first, second = (replicators.start(there(east, west, 1)) for _host in range(2))
    wait_for_equal(east, west, "app/")
    # The first host learns of it; the other one still has the old configuration, and holds or takes the lease of its set.
    replicators.reload(first, back(east, west, 2))
    wait_for_following(first, "back")
    status = wait_for_status(second, "there", lambda one: one["state"] == "frozen", "the old direction is frozen")
    assert "it was reversed by back, generation 2" in status["frozen"]
    write(west, {"app/1": "by west", "app/new": "by west"})
    wait_for_equal(west, east, "app/")
    write(east, {"app/2": "written at the wrong side"})
    assert read(west, "app/")["app/2"][0] == b"by east"
    with client_of(west) as operator:
        with pytest.raises(InvalidOption, match="both directions could write"):
            control.thaw(operator, "there")
    sides = ("--source-url", east.url, "--destination-url", west.url, "--accept", "reversed")
    once = run_command(bundle, "replicate", "once", "--prefix", "app/", "--name", "there", *sides)
    assert once.returncode == 3 and "higher generation" in once.stderr, once
    plan = run_command(bundle, "replicate", "plan", "--prefix", "app/", "--name", "there", *sides)
    assert "is frozen" not in plan.stderr, "what a reversal would do can be seen before"
    # A host that comes back with the old configuration changes nothing, and neither does one that learns of the new one last.
    second.stop()
    second = replicators.start(there(east, west, 1))
    wait_for_status(second, "there", lambda one: one["state"] == "frozen", "it is frozen again")
    replicators.reload(second, back(east, west, 2))
    second.wait("standby")
    write(west, {"app/2": "by west"})
    wait_for_equal(west, east, "app/")
    # Back again, the other host first.
    replicators.reload(second, there(east, west, 3))
    wait_for_following(second, "there")
    wait_for_status(first, "back", lambda one: one["state"] == "frozen", "the other direction is frozen")
    write(east, {"app/1": "by east again"})
    wait_for_equal(east, west, "app/")
    replicators.reload(first, there(east, west, 3))
    first.wait("standby")
    write(east, {"app/1": "and again"})
    wait_for_equal(east, west, "app/")


def test_the_old_direction_ends_although_the_datacenter_that_failed_does_not_answer(
    replicators: Replicators, west: Datacenter, own_lab: Lab
) -> None:
    failed = own_lab.datacenter("failed")
    sets = {"before": a_set(failed, west, "down/", reverses="after", generation=1, **OPTIONS)}
    write(failed, {"down/1": "v"})
    old = replicators.start(sets)
    wait_for_following(old, "before")
    failed.servers[0].pause()
    try:
        replicators.start({"after": a_set(west, failed, "down/", reverses="before", generation=2, **OPTIONS)})
        frozen = "/v1/kv/consulops/replication/before/control/freeze"
        eventually(lambda: west.request("GET", frozen).ok, what="the old direction is frozen")
        wait_for_status(old, "before", lambda one: one["state"] == "frozen", "its agent knows")
        write(west, {"down/1": "by west"})
    finally:
        failed.servers[0].resume()
    wait_for_equal(west, failed, "down/")
    assert read(failed, "down/")["down/1"][0] == b"by west"


def test_one_generation_for_both_directions_is_a_mistake_that_is_said(
    replicators: Replicators, east: Datacenter, west: Datacenter
) -> None:
    def both(name: str, other: str, here: Datacenter, to: Datacenter) -> dict[str, t.Any]:
        return {name: a_set(here, to, "tie/", reverses=other, generation=1, **OPTIONS)}

    write(east, {"tie/1": "v"})
    won = replicators.start(both("tie-there", "tie-back", east, west))
    wait_for_following(won, "tie-there")
    lost = replicators.start(both("tie-back", "tie-there", west, east))
    said = "generation 1 was taken by tie-there, so tie-back needs a higher one"
    wait_for_status(lost, "tie-back", lambda one: said in (one["frozen"] or ""), "it says why it is frozen")
    wait_for_following(won, "tie-there")


def test_what_the_failed_datacenter_wrote_alone_is_kept_and_shown(
    replicators: Replicators, west: Datacenter, own_lab: Lab
) -> None:
    failed = own_lab.datacenter("lone")
    options = {**OPTIONS, "on_conflict": "keep"}
    before = {"kept-before": a_set(failed, west, "kept/", reverses="kept-after", generation=1, **options)}
    after = {"kept-after": a_set(west, failed, "kept/", reverses="kept-before", generation=2, **options)}
    write(failed, {f"kept/{name}": "copied" for name in ("same", "by-west", "gone", "late", "by-both", "lost")})
    old = replicators.start(before)
    wait_for_equal(failed, west, "kept/")
    old.stop()
    # What is not copied any more before it fails, and what is written there after that, are the same thing.
    write(failed, {f"kept/{name}": "by failed" for name in ("late", "by-both", "only-failed")})
    assert failed.request("DELETE", "/v1/kv/kept/lost").ok
    failed.servers[0].pause()
    try:
        new = replicators.start(after)
        frozen = "/v1/kv/consulops/replication/kept-before/control/freeze"
        eventually(lambda: west.request("GET", frozen).ok, what="the old direction is frozen")
        write(west, {f"kept/{name}": "by west" for name in ("by-west", "by-both", "only-west")})
        assert west.request("DELETE", "/v1/kv/kept/gone").ok
    finally:
        failed.servers[0].resume()
    wait_for_status(new, "kept-after", lambda one: one["conflicts"]["count"] == 3, "three keys are in conflict")
    contents = {key: value for key, (value, _flags) in read(failed, "kept/").items()}
    assert contents == {
        "kept/same": b"copied",
        "kept/by-west": b"by west",
        "kept/only-west": b"by west",
        "kept/late": b"by failed",
        "kept/by-both": b"by failed",
        "kept/only-failed": b"by failed",
    }
    # What was copied in this direction belongs to it.
    write(west, {"kept/by-west": "again", "kept/same": "again"})
    eventually(lambda: read(failed, "kept/")["kept/same"][0] == b"again", what="a key is copied")
    eventually(lambda: read(failed, "kept/")["kept/by-west"][0] == b"again", what="another key is copied")
