# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""consul_kv_reconcile after a failover between two real datacenters: what the failed one wrote alone, and which side wins."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from tests.lab.agents import bare, run_command
from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token
from tests.lab.keys import delete, read, write
from tests.lab.replicating import Replicators, a_set, wait_for_following, wait_for_status

_numbers = itertools.count(1)


class Failover:
    """A folder that was copied from the old to the new datacenter until the old one failed, and whose sides then diverged.

    The old datacenter is the destination of the set ``NAME-back``, which is active now.
    """

    def __init__(self, old: Datacenter, new: Datacenter) -> None:
        self.old, self.new = old, new
        self.name = f"reconcile{next(_numbers)}"
        self.prefix = f"{self.name}/"
        self.sides: dict[str, t.Any] = {
            "source": {"url": new.url, "token": new.token},
            "destination": {"url": old.url, "token": old.token},
        }
        self.there: dict[str, t.Any] = {
            "source": self.sides["destination"],
            "destination": self.sides["source"],
            "prefixes": [self.prefix],
            "name": f"{self.name}-there",
        }
        self.back: dict[str, t.Any] = {
            **self.sides,
            "prefixes": [self.prefix],
            "name": f"{self.name}-back",
            "max_delete_percent": 100,
        }

    def diverge(self) -> None:
        """Let the old side be copied, and both sides diverge in every way."""
        copied = ("same", "by-new", "by-old", "by-both", "gone-old", "gone-new", "gone-new-by-old")
        self.write(self.old, dict.fromkeys(copied, "copied"))
        run_module("consul_kv_replicate", **self.there)
        self.write(self.old, dict.fromkeys(("by-old", "by-both", "only-old", "gone-new-by-old", "both-created"), "old"))
        self.delete(self.old, "gone-old")
        self.write(self.new, dict.fromkeys(("by-new", "by-both", "only-new", "both-created"), "new"))
        self.delete(self.new, "gone-new", "gone-new-by-old")

    def copy_back(self, **options: t.Any) -> dict[str, t.Any]:
        """Copy from the new to the old side once, as the active set does, and return the row of the result."""
        once: dict[str, t.Any] = {"on_conflict": "keep", "accept": ["reversed"], **options}
        result = run_module("consul_kv_replicate", **{**self.back, **once})
        return dict(result["prefixes"][0])

    def reconcile(self, *, check: bool = False, diff: bool = False, **options: t.Any) -> dict[str, t.Any]:
        return run_module("consul_kv_reconcile", check=check, diff=diff, **{**self.back, **options})

    def decided(self, wins: str, prefix: str = "") -> list[dict[str, str]]:
        return [{"prefix": self.prefix + prefix, "wins": wins}]

    def write(self, side: Datacenter, values: t.Mapping[str, str]) -> None:
        write(side, {self.prefix + key: value for key, value in values.items()})

    def delete(self, side: Datacenter, *names: str) -> None:
        delete(side, *(self.prefix + name for name in names))

    def values(self, side: Datacenter) -> dict[str, str]:
        found = read(side, self.prefix)
        return {key[len(self.prefix) :]: value.decode() for key, (value, _flags) in found.items()}

    def kinds(self, result: t.Mapping[str, t.Any]) -> dict[str, str]:
        return {row["key"][len(self.prefix) :]: row["kind"] for row in result["keys"]}


def stored(side: Datacenter, name: str) -> list[str]:
    """Return the names of the keys that a replication stores below a name."""
    names = side.get("/v1/kv/consulops/replication/?keys")
    return [key for key in names if key.startswith(f"consulops/replication/{name}")]


KINDS = {
    "by-old": "changed_old",
    "by-both": "changed_both",
    "both-created": "changed_both",
    "only-old": "created_old",
    "gone-old": "deleted_old",
    "gone-new-by-old": "deleted_new",
}


@pytest.fixture
def failover(east: Datacenter, west: Datacenter) -> Failover:
    made = Failover(east, west)
    made.diverge()
    return made


@pytest.fixture(params=["before the set compared", "after it compared"])
def diverged(request: pytest.FixtureRequest, failover: Failover) -> Failover:
    if request.param == "after it compared":
        failover.copy_back()
    return failover


def test_what_the_old_side_wrote_alone_is_listed_by_kind_and_left_alone(diverged: Failover) -> None:
    before = diverged.values(diverged.old), diverged.values(diverged.new)
    result = diverged.reconcile()
    assert diverged.kinds(result) == KINDS
    assert {row["wins"] for row in result["keys"]} == {"report"}
    assert not result["changed"]
    assert result["counts"]["diverged"] == result["counts"]["reported"] == len(KINDS)
    assert (diverged.values(diverged.old), diverged.values(diverged.new)) == before


@pytest.mark.parametrize("wins", ["new", "old"])
def test_the_side_that_wins_is_what_both_have_and_the_set_owns_it(diverged: Failover, wins: str) -> None:
    winner, loser = (diverged.new, diverged.old) if wins == "new" else (diverged.old, diverged.new)
    expected = {key: diverged.values(winner).get(key) for key in KINDS}
    planned = diverged.reconcile(check=True, decisions=diverged.decided(wins))
    result = diverged.reconcile(decisions=diverged.decided(wins))
    assert result["changed"] and planned["prefixes"] == result["prefixes"]
    assert {key: diverged.values(loser).get(key) for key in KINDS} == expected
    assert {key: diverged.values(winner).get(key) for key in KINDS} == expected
    again = diverged.reconcile(decisions=diverged.decided(wins))
    assert not again["changed"] and again["keys"] == []
    row = diverged.copy_back()
    assert row["conflicts"] == [] and row["kept"] == 0
    # It belongs to the set: what changes and what goes at the new side does so at the old one.
    present = [key for key, value in expected.items() if value is not None]
    diverged.write(diverged.new, dict.fromkeys(present[:-1], "changed"))
    diverged.delete(diverged.new, present[-1])
    diverged.write(diverged.new, {"gone-old": "created again"})
    assert diverged.copy_back()["conflicts"] == []
    assert diverged.values(diverged.old) == diverged.values(diverged.new)


def test_the_agent_of_the_set_shows_no_conflict_afterwards_and_copies_what_became_its_own(
    failover: Failover, replicators: Replicators
) -> None:
    one, name = failover, f"{failover.name}-back"
    options: dict[str, t.Any] = {"on_conflict": "keep", "max_delete_percent": 100, "accept": ["reversed"]}
    agent = replicators.start({name: a_set(one.new, one.old, one.prefix, **options)})
    wait_for_status(agent, name, lambda found: found["conflicts"]["count"] == 5, "five keys are in conflict")
    decisions = [*one.decided("new"), *one.decided("old", "only-old"), *one.decided("old", "both-created")]
    result = one.reconcile(decisions=decisions)
    assert {row["key"][len(one.prefix) :] for row in result["keys"] if row["wins"] == "old"} == {
        "only-old",
        "both-created",
    }
    eventually(lambda: not stored(one.old, f"{name}/control/compare"), what="everything was compared again")
    wait_for_status(agent, name, lambda found: found["conflicts"]["count"] == 0, "no key is in conflict")
    wait_for_following(agent, name)
    assert one.values(one.old) == one.values(one.new)
    one.write(one.new, {"only-old": "by new", "both-created": "by new", "gone-old": "by new"})
    one.delete(one.new, "by-old", "by-both")
    eventually(lambda: one.values(one.old) == one.values(one.new), what="every change is copied")
    assert not one.reconcile(decisions=decisions)["changed"]


# ---------------------------------------------------------------------------------------------------------------
# Others that write, tokens, guards


def at_first_transaction(proxy: Proxy, *actions: t.Callable[[], object]) -> None:
    """Carry out the actions just before the first transactions that write are forwarded, one before each."""
    waiting = list(actions)

    def hook(method: str, path: str) -> None:
        if method == "PUT" and path == "/v1/txn" and waiting:
            waiting.pop(0)()

    proxy.before_forward = hook


@pytest.mark.parametrize("writes", [1, 2])
@pytest.mark.parametrize("wins", ["new", "old"])
def test_a_key_that_others_write_to_is_planned_again_once_and_then_named(
    failover: Failover, proxy: t.Callable[..., Proxy], tmp_path: Path, wins: str, writes: int
) -> None:
    one, path = failover, tmp_path / "alone.jsonl"
    one.copy_back()
    side, datacenter = ("destination", one.old) if wins == "new" else ("source", one.new)
    slow = proxy(datacenter.url)
    at_first_transaction(
        slow, *(lambda number=number: one.write(datacenter, {"by-both": f"late {number}"}) for number in range(writes))
    )
    options: dict[str, t.Any] = {
        side: {"url": slow.url, "token": datacenter.token},
        "decisions": one.decided(wins, "by-both"),
        "export_path": path,
    }
    if writes == 1:
        result = one.reconcile(**options)
        assert result["not_reconciled"] == []
        assert one.values(one.old)["by-both"] == one.values(one.new)["by-both"] == {"new": "new", "old": "old"}[wins]
    else:
        with pytest.raises(
            ModuleFailed, match="1 key could not be reconciled: .*by-both .written to by others"
        ) as failed:
            one.reconcile(**options)
        assert [row["key"] for row in failed.value.result["not_reconciled"]] == [one.prefix + "by-both"]
        assert one.values(datacenter)["by-both"] == "late 1"
    # Whatever was overwritten was exported before.
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lost = [
        base64.b64decode(row[{"new": "old", "old": "new"}[wins]]["value"]) for row in rows if "by-both" in row["key"]
    ]
    assert lost == [{"new": b"old", "old": b"new"}[wins], b"late 0"]


def test_a_key_that_others_create_at_the_winning_side_is_not_deleted(
    failover: Failover, proxy: t.Callable[..., Proxy]
) -> None:
    one = failover
    one.copy_back()
    slow = proxy(one.new.url)
    confirmations = itertools.count()

    def hook(method: str, path: str) -> None:
        if (method, path) == ("PUT", "/v1/txn?consistent=") and next(confirmations) == 1:  # the one before deleting
            one.write(one.new, {"only-old": "created"})

    slow.before_forward = hook
    one.reconcile(
        source={"url": slow.url, "token": one.new.token}, decisions=one.decided("new", "only-old"), concurrency=1
    )
    assert next(confirmations) > 1
    assert one.values(one.old)["only-old"] == one.values(one.new)["only-old"] == "created"


@pytest.fixture(scope="module")
def guarded_pair(own_lab: Lab) -> tuple[Datacenter, Datacenter]:
    return own_lab.datacenter("guarded-old", acl=True), own_lab.datacenter("guarded-new", acl=True)


@pytest.fixture
def guarded(guarded_pair: tuple[Datacenter, Datacenter]) -> Failover:
    made = Failover(*guarded_pair)
    made.diverge()
    made.copy_back()
    return made


STORED = 'key_prefix "consulops/replication/" { policy = "%s" }'


def test_the_policies_of_the_guide_are_enough(guarded: Failover) -> None:
    prefix = f'key_prefix "{guarded.prefix}" {{ policy = "%s" }} agent_prefix "" {{ policy = "read" }} '
    new = new_token(guarded.new, prefix % "write" + STORED % "read")
    old = new_token(guarded.old, prefix % "write" + STORED % "write")
    result = guarded.reconcile(
        source={"url": guarded.new.url, "token": new},
        destination={"url": guarded.old.url, "token": old},
        decisions=[*guarded.decided("new"), *guarded.decided("old", "by-old")],
    )
    assert result["changed"] and guarded.values(guarded.old)["by-old"] == "old" == guarded.values(guarded.new)["by-old"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("side", "wins"), [("source", "old"), ("destination", "new")])
def test_a_token_that_may_only_read_a_side_lists_and_is_refused_before_it_writes(
    guarded: Failover, side: str, wins: str, check: bool
) -> None:
    datacenter = guarded.new if side == "source" else guarded.old
    rules = f'key_prefix "{guarded.prefix}" {{ policy = "read" }} agent_prefix "" {{ policy = "read" }} '
    options: dict[str, t.Any] = {
        side: {"url": datacenter.url, "token": new_token(datacenter, rules + STORED % "write")}
    }
    before = guarded.values(guarded.old), guarded.values(guarded.new)
    assert guarded.kinds(guarded.reconcile(**options)) == KINDS
    with pytest.raises(ModuleFailed, match="The token may not write below .*Nothing was changed") as failed:
        guarded.reconcile(check=check, decisions=guarded.decided(wins), **options)
    assert datacenter.url in str(failed.value)
    assert (guarded.values(guarded.old), guarded.values(guarded.new)) == before


def test_a_key_that_may_not_be_written_is_named_and_the_others_are_written(guarded: Failover) -> None:
    rules = (
        f'key_prefix "{guarded.prefix}" {{ policy = "write" }} key "{guarded.prefix}by-both" {{ policy = "read" }} '
        f'agent_prefix "" {{ policy = "read" }} '
    )
    token = new_token(guarded.old, rules + STORED % "write")
    with pytest.raises(ModuleFailed, match="1 key could not be reconciled: .*by-both .*[Pp]ermission denied"):
        guarded.reconcile(destination={"url": guarded.old.url, "token": token}, decisions=guarded.decided("new"))
    assert guarded.values(guarded.old)["by-old"] == "copied"
    assert guarded.kinds(guarded.reconcile()) == {"by-both": "changed_both"}


def test_a_key_that_a_token_may_not_read_is_not_taken_for_absent(guarded: Failover) -> None:
    """Consul leaves it out of lists, so it would look as if only the old side had it."""
    rules = (
        f'key_prefix "{guarded.prefix}" {{ policy = "write" }} key "{guarded.prefix}by-both" {{ policy = "deny" }} '
        f'agent_prefix "" {{ policy = "read" }} '
    )
    token = new_token(guarded.new, rules + STORED % "read")
    options: dict[str, t.Any] = {
        "source": {"url": guarded.new.url, "token": token},
        "decisions": guarded.decided("new"),
    }
    before = guarded.values(guarded.old)
    with pytest.raises(ModuleFailed, match="by-both|only a part"):
        guarded.reconcile(**options)
    assert guarded.values(guarded.old) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_deletes": 1}, "2 keys would be deleted on both sides together, and max_deletes is 1"),
        ({"decisions": [{"prefix": "other/", "wins": "new"}]}, "'other/' concerns no key"),
        ({"name": "nobody"}, "There is no replication 'nobody' from west to east; found are reconcile.*-back"),
        ({"export_path": ""}, "export_path is empty"),
        ({"export_path": "/does/not/exist/file"}, "creating a file in /does/not/exist"),
    ],
)
def test_what_is_refused_changes_nothing(failover: Failover, options: dict[str, t.Any], sentence: str) -> None:
    one = failover
    one.copy_back()
    before = one.values(one.old), one.values(one.new)
    with pytest.raises(ModuleFailed, match=sentence):
        one.reconcile(**{"decisions": one.decided("new"), **options})
    assert (one.values(one.old), one.values(one.new)) == before


@pytest.mark.parametrize("wins", ["new", "old"])
def test_a_side_that_was_wiped_does_not_win(failover: Failover, wins: str) -> None:
    one = failover
    one.copy_back()
    delete(one.new if wins == "new" else one.old, one.prefix)
    other = one.old if wins == "new" else one.new
    before = one.values(other)
    with pytest.raises(ModuleFailed, match="has no key below .* set allow_empty_source.*Nothing was changed"):
        one.reconcile(decisions=one.decided(wins))
    assert one.values(other) == before


def test_a_percentage_of_a_side_is_a_limit_too(failover: Failover) -> None:
    one = failover
    one.copy_back()
    one.write(one.old, {f"more-{number}": "old" for number in range(6)})
    with pytest.raises(ModuleFailed, match="in east, 8 of .* would be deleted .*max_delete_percent is 10"):
        one.reconcile(decisions=one.decided("new"), max_delete_percent=10)
    assert one.reconcile(decisions=one.decided("new"))["prefixes"][0]["deleted_at_destination"] == 8


def test_the_direction_that_is_not_active_is_refused(
    east: Datacenter, west: Datacenter, replicators: Replicators
) -> None:
    one = Failover(east, west)
    one.write(one.old, {"a": "1"})
    there, back = f"{one.name}-there", f"{one.name}-back"
    agent = replicators.start({there: a_set(one.old, one.new, one.prefix, reverses=back, generation=1)})
    wait_for_following(agent, there)
    with pytest.raises(ModuleFailed, match=f"'{back}' is not the active direction: .* reversed by {there}"):
        one.reconcile()
    with pytest.raises(ModuleFailed, match=f"The replication '{there}' is the active direction"):
        one.reconcile(name="misspelt")
    replicators.reload(agent, {back: a_set(one.new, one.old, one.prefix, reverses=there, generation=2)})
    wait_for_following(agent, back)
    assert one.reconcile(name=None)["name"] == back
    turned: dict[str, t.Any] = {"source": one.sides["destination"], "destination": one.sides["source"], "name": there}
    with pytest.raises(ModuleFailed, match=f"'{there}' is not the active direction: .* reversed by {back}"):
        one.reconcile(**turned)


def test_a_set_that_an_operator_froze_is_only_listed(failover: Failover, bundle: Path) -> None:
    one, name = failover, f"{failover.name}-back"
    one.copy_back()
    old = ("--url", one.old.url)
    assert run_command(bundle, "replicate", "freeze", name, "--reason", "why", *old).returncode == 0
    assert one.kinds(one.reconcile()) == KINDS
    before = one.values(one.old), one.values(one.new)
    with pytest.raises(ModuleFailed, match=f"is frozen by .*why.*consulops replicate thaw {name}"):
        one.reconcile(decisions=one.decided("new"))
    assert (one.values(one.old), one.values(one.new)) == before
    assert run_command(bundle, "replicate", "thaw", name, *old).returncode == 0
    assert one.reconcile(decisions=one.decided("new"))["changed"]


# ---------------------------------------------------------------------------------------------------------------
# What is shown and kept


def test_the_export_has_both_sides_of_every_key_and_is_never_overwritten(failover: Failover, tmp_path: Path) -> None:
    one, path = failover, tmp_path / "alone.jsonl"
    one.copy_back()
    before = one.values(one.old), one.values(one.new)
    assert one.reconcile(check=True, export_path=path)["export"]["keys"] == len(KINDS)
    assert list(tmp_path.iterdir()) == []
    listed = one.reconcile(export_path=path)
    assert listed["export"] == {"path": str(path), "keys": len(KINDS)}
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["key"][len(one.prefix) :]: row["kind"] for row in rows} == KINDS
    for side, values in (("old", before[0]), ("new", before[1])):
        found = {row["key"]: row[side] and base64.b64decode(row[side]["value"]).decode() for row in rows}
        assert found == {one.prefix + name: values.get(name) for name in KINDS}
    content = path.read_bytes()
    again = one.reconcile(export_path=path)  # nothing is to be changed
    assert again["export"] is None
    for check in (True, False):
        with pytest.raises(ModuleFailed, match="exists and .* overwritten"):
            one.reconcile(check=check, export_path=path, decisions=one.decided("new"))
    assert (one.values(one.old), one.values(one.new)) == before
    assert path.read_bytes() == content and [found.name for found in tmp_path.iterdir()] == [path.name]


def test_values_are_in_no_result_and_in_the_diff_only_when_they_are_asked_for(failover: Failover) -> None:
    one = failover
    one.copy_back()
    one.write(one.old, {"only-old": "secret-of-old"})
    decisions = [*one.decided("new"), *one.decided("old", "by-both")]
    shown = one.reconcile(check=True, diff=True, decisions=decisions, diff_values=True)["diff"]
    assert f"east {one.prefix}only-old: secret-of-old" in shown["before"]
    assert f"west {one.prefix}by-both: old" in shown["after"]
    result = one.reconcile(diff=True, decisions=decisions)
    assert "secret-of-old" not in json.dumps(result)
    assert f"east {one.prefix}only-old: digest" in result["diff"]["before"]


def test_keys_without_a_decision_fail_the_task_when_that_is_asked_for(failover: Failover) -> None:
    one = failover
    one.copy_back()
    decisions = [*one.decided("new"), *one.decided("report", "by-old"), *one.decided("report", "only-old")]
    with pytest.raises(
        ModuleFailed, match="2 keys diverged and no decision says which side wins .*by-old; .*only-old"
    ) as failed:
        one.reconcile(decisions=decisions, fail_on_report=True)
    assert failed.value.result["changed"] and failed.value.result["counts"]["reported"] == 2
    assert one.kinds(one.reconcile()) == {"by-old": "changed_old", "only-old": "created_old"}
    assert not one.reconcile(decisions=decisions)["changed"]


def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next_one(
    east: Datacenter, west: Datacenter, proxy: t.Callable[..., Proxy], bundle: Path, tmp_path: Path
) -> None:
    one = Failover(east, west)
    one.diverge()
    one.copy_back()
    one.write(one.old, {f"many-{number:03}": f"{number}" for number in range(400)})
    slow = proxy(one.new.url)
    words = (
        *(
            "replicate",
            "reconcile",
            "--prefix",
            one.prefix,
            "--name",
            f"{one.name}-back",
            "--wins",
            f"{one.prefix}=old",
        ),
        *("--max-delete-percent", "100", "--source-url", slow.url, "--destination-url", one.old.url, "--json"),
    )
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    killed = subprocess.Popen(
        [sys.executable, "-I", str(bundle), *words, "--export-path", str(first)],
        env=bare(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    transactions = itertools.count()

    def hook(method: str, path: str) -> None:
        if (method, path) == ("PUT", "/v1/txn") and next(transactions) == 3:
            killed.kill()

    slow.after_forward = hook
    assert killed.wait(timeout=60) == -9
    slow.after_forward = lambda _method, _path: None
    written = [name for name in one.values(one.new) if name.startswith("many-")]
    assert 0 < len(written) < 400, "it was killed in the middle"
    assert len(first.read_text().splitlines()) == 400 + len(KINDS)
    done = run_command(bundle, *words, "--export-path", second)
    assert done.returncode == 0, done.stderr
    assert one.values(one.old) | {"by-new": "new"} == one.values(one.new) | {"by-new": "new"}
    assert json.loads(done.stdout)["prefixes"][0]["made_owned"] >= 400, "also what the first run had written"
    again = run_command(bundle, *words, "--export-path", second)
    assert again.returncode == 0 and not json.loads(again.stdout)["changed"]
    assert one.copy_back()["conflicts"] == []
    one.write(one.new, {f"many-{number:03}": "by new" for number in range(400)})
    row = one.copy_back()
    assert (row["updated"], row["conflicts"]) == (400, [])


def test_the_command_shows_what_diverged_and_what_was_done(failover: Failover, bundle: Path) -> None:
    one = failover
    one.copy_back()
    words = (
        "replicate",
        "reconcile",
        "--prefix",
        one.prefix,
        "--source-url",
        one.new.url,
        "--destination-url",
        one.old.url,
    )
    listed = run_command(bundle, *words, "--exit-code")
    assert listed.returncode == 5
    assert (
        "new side west, old side east" in listed.stdout
        and f"created_old: {one.prefix}only-old: report" in listed.stdout
    )
    done = run_command(bundle, *words, "--wins", f"{one.prefix}=new", "--max-delete-percent", "100")
    assert done.returncode == 0 and f"{one.prefix}: 2 deleted in east" in done.stdout
    for wins, sentence in (("app", "is not PREFIX=SIDE"), (f"{one.prefix}=west", "wins")):
        refused = run_command(bundle, *words, "--wins", wins)
        assert refused.returncode == 2 and sentence in refused.stderr
