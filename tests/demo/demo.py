# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make demo``: saves, restores, copies and checks on a real local Consul, each step by ansible-playbook, and prints a table."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyrage

from tests.lab.agents import make_bundle, run_command
from tests.lab.alerting import Instances, register_check, set_check
from tests.lab.ansible import run_task
from tests.lab.consul import ROOT, Datacenter, Lab, eventually
from tests.lab.fill import fill, new_token
from tests.lab.http_service import HttpService
from tests.lab.keys import read, write
from tests.lab.replicating import Replicators, a_set, wait_for_following, wait_for_status
from tests.lab.snapshotting import Snapshotters, a_policy, wait_for_policy, wait_for_snapshot

SAVE = "consulops.failover.consul_snapshot"
INFO = "consulops.failover.consul_snapshot_info"
REHEARSE = "consulops.failover.consul_snapshot_rehearse"
CHECK = "consulops.failover.consul_alert_check"
REPLICATE = "consulops.failover.consul_kv_replicate"
FAILOVER = "consulops.failover.consul_failover"
VERSIONS = ROOT / "tests" / "fixtures" / "consul-versions"
WIDTH = 88
ALIVE = 1  # status of a member in /v1/agent/members


class Demo:
    """Runs the steps, prints the name of each when it begins, and keeps the rows of the table."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rows: list[tuple[str, str, float]] = []

    @contextmanager
    def step(self, name: str) -> t.Iterator[t.Callable[[str], None]]:
        """Measure a step; the step passes its result to the function that it gets."""
        print(f"-- {name}", file=sys.stderr, flush=True)
        started = time.monotonic()
        said: list[str] = []
        yield said.append
        self.rows.append((name, " ".join(said), time.monotonic() - started))

    def task(
        self,
        module: str,
        arguments: dict[str, t.Any],
        *options: str,
        fails: bool = False,
        before: t.Sequence[dict[str, t.Any]] = (),
    ) -> dict[str, t.Any]:
        """Run one Ansible task, after those of ``before``; the demo ends if it fails unexpectedly, or unexpectedly does not."""
        result = run_task(self.directory / "ansible", module, arguments, *options, before=before, whole=True)
        if bool(result.get("failed")) is not fails:
            raise SystemExit(f"the demo failed: {result.get('msg', result)}")
        return result

    def table(self) -> str:
        """Return the table of all steps."""
        lines = [f"{'step':<34}{'what happened':<{WIDTH}}{'seconds':>8}", "-" * (42 + WIDTH)]
        for name, said, seconds in self.rows:
            parts = textwrap.wrap(said, WIDTH - 2) or [""]
            lines.append(f"{name:<34}{parts[0]:<{WIDTH}}{seconds:>8.2f}")
            lines += [f"{'':<34}{part}" for part in parts[1:]]
        return "\n".join(lines)


def main() -> int:
    """Run the demo and return 0."""
    directory = Path(tempfile.mkdtemp(prefix="consulops-demo-"))
    demo = Demo(directory)
    started = time.monotonic()
    try:
        with Lab(directory / "lab") as lab:
            run(demo, lab)
    finally:
        shutil.rmtree(directory)
    print(demo.table())
    print(f"\nEverything in {time.monotonic() - started:.1f} s; the servers are stopped and nothing is left behind.")
    return 0


def run(demo: Demo, lab: Lab) -> None:
    """Run the steps in order."""
    with demo.step("start two Consul datacenters") as say:
        datacenter, second = lab.datacenter("dc1", acl=True), lab.datacenter("dc2", servers=3)
        say(f"dc1 with ACLs, default deny; dc2 with three servers; on {lab.network}.*; version {_version(datacenter)}")
    with demo.step("fill it") as say:
        fill(datacenter, keys=2000)
        say("2,000 keys, services, 5 external nodes, a session, ACLs, a query, config entries, an intention")
    vault = demo.directory / "snapshots"
    vault.mkdir(mode=0o700)
    connection = {"url": datacenter.url, "token": datacenter.token}
    with demo.step("save") as say:
        result = demo.task(SAVE, {**connection, "path": f"{vault}/", "max_age": "1h"})
        path, saved = Path(result["path"]), result["snapshot"]
        records = sum(table["count"] for table in saved["tables"])
        say(f"changed={result['changed']}; {path.name}, mode {path.stat().st_mode & 0o777:04o},")
        say(f"{saved['size']:,} bytes;")
        say(f"all {records:,} records in {len(saved['tables'])} tables decoded;")
        say(f"left out by Consul: {saved['missing'] or 'none'}")
    with demo.step("save again within max_age") as say:
        result = demo.task(SAVE, {**connection, "path": f"{vault}/", "max_age": "1h"})
        say(f"changed={result['changed']}; {result['reason']}")
    with demo.step("rehearse its restore") as say:
        binary = datacenter.servers[0].binary
        result = demo.task(REHEARSE, {"path": path, "consul_binary": binary, "scratch_path": demo.directory})
        came_back = [row for row in result["tables"] if row["durable"]]
        say(
            f"verified={result['verified']}: {sum(row['restored'] for row in came_back):,} records in {len(came_back)} tables"
        )
        say(
            f"came back in {result['seconds']['restore']:.2f} s in a Consul that reaches nothing ({result['isolation']})"
        )
    with demo.step("change things in Consul") as say:
        datacenter.put("/v1/kv/app/web/000000", "edited")
        datacenter.request("DELETE", "/v1/kv/app/db/000002")
        datacenter.put("/v1/kv/app/new", "created")
        new_token(datacenter, 'key_prefix "" { policy = "read" }', "intruder")
        say("one key edited, one deleted, one created; a policy and a token added")
    with demo.step("look into it, compare with live") as say:
        asked = {"compare_live": True, "kv_depth": 2, "key": "app/web/000000"}
        result = demo.task(INFO, {**connection, "path": path, **asked})
        largest, comparison = result["kv"][0], result["comparison"]
        say(f"largest tables: {', '.join(_row(table) for table in result['snapshot']['tables'][:3])};")
        say(f"largest prefix: {largest['prefix']} with {largest['keys']} keys;")
        say(f"app/web/000000: {result['key']['bytes']} bytes, digest {result['key']['digest']};")
        durable = {table["table"] for table in comparison["tables"] if table["durable"]}
        found = [row for row in comparison["differences"] if row["table"] in durable]
        say(f"equal={comparison['equal']}: " + "; ".join(_difference(row) for row in found))
    with demo.step("restore") as say:
        result = demo.task(SAVE, {**connection, "path": path, "state": "restored"})
        say(f"changed={result['changed']}; one request, verified={result['verified']};")
        say(f"the state before is kept as {Path(result['safety']).name}")
    with demo.step("restore again") as say:
        result = demo.task(SAVE, {**connection, "path": path, "state": "restored"})
        say(f"changed={result['changed']}; {result['reason']}")
    with demo.step("write a key, restore again") as say:
        datacenter.put("/v1/kv/app/precious", "written after the restore")
        result = demo.task(SAVE, {**connection, "path": path, "state": "restored"})
        say(f"changed={result['changed']}, {result['action']}: would undo {_loss(result)}; needs force")
    with demo.step("wipe a prefix, restore only that") as say:
        datacenter.request("DELETE", "/v1/kv/app/api/?recurse")
        result = demo.task(SAVE, {**connection, "path": path, "state": "restored", "prefixes": ["app/api/"]})
        row = result["prefixes"][0]
        kept = datacenter.request("GET", "/v1/kv/app/precious?raw").text
        say(f"changed={result['changed']}; {row['created']} keys created below app/api/; app/precious: {kept!r}")
    with demo.step("take that back") as say:
        undo = {**connection, "path": result["undo"], "state": "restored", "prefixes": ["app/api/"]}
        row = demo.task(SAVE, undo)["prefixes"][0]
        say(f"from {Path(result['undo']).name}: {row['deleted']} keys deleted again below app/api/")
    with demo.step("the same in a second datacenter") as say:
        lab.join_wan(datacenter, second)
        fill(second, keys=50)
        through = {**connection, "datacenter": "dc2", "path": f"{vault}/dc2.snap"}
        edit = {"url": f"{second.url}/v1/kv/app/web/000000", "method": "PUT", "body": "edited"}
        back = {**through, "state": "restored"}
        result = demo.task(SAVE, back, before=[{SAVE: through}, {"ansible.builtin.uri": edit}])
        say(f"saved and restored through an agent of dc1: changed={result['changed']}, verified={result['verified']}")
    with demo.step("snapshots of other versions") as say:
        result = demo.task(INFO, {"path": VERSIONS / "1.23-dev.snap", "restorable_in": ["1.8", "1.23"]})
        loads = {row["version"]: row for row in result["restorable_in"]}
        say(f"written by 1.23-dev: loads in 1.23: {loads['1.23']['restorable']}, in 1.8: {loads['1.8']['restorable']}")
        say(f"({len(loads['1.8']['reasons'])} reasons, the first: {loads['1.8']['reasons'][0]['reason']});")
        result = demo.task(
            INFO, {"path": VERSIONS / "1.8.7.snap", "compare_with": VERSIONS / "1.8.7-restored-into-1.23-dev.snap"}
        )
        tables = [table for table in result["comparison"]["tables"] if table["durable"]]
        changes = sum(table["added"] + table["removed"] + table["changed"] for table in tables)
        say(
            f"of 1.8.7, restored into 1.23-dev: {sum(table['migrated'] for table in tables)} records in the newer form,"
        )
        say(f"{changes} difference (the token of its configuration)")
    copy = {
        "source": {**connection, "datacenter": "dc1"},
        "destination": {"url": second.url, "datacenter": "dc2"},
        "prefixes": [{"source": "app/", "destination": "from-dc1/app/", "exclude": ["cache"]}],
    }
    with demo.step("copy keys from dc1 to dc2") as say:
        result = demo.task(REPLICATE, copy)
        row = result["prefixes"][0]
        say(
            f"changed={result['changed']}; {row['created']:,} keys created, verified={row['verified']}, {row['seconds']:.2f} s"
        )
    with demo.step("damage dc2, copy again") as say:
        second.put("/v1/kv/from-dc1/app/web/000005", "edited by hand")
        second.request("DELETE", "/v1/kv/from-dc1/app/db/000007")
        second.put("/v1/kv/from-dc1/app/local", "dc2's own")
        result = demo.task(REPLICATE, {**copy, "on_conflict": "overwrite"})
        row = result["prefixes"][0]
        say(
            f"changed={result['changed']}; {row['created']} created, {row['updated']} updated, {row['kept']} of dc2's own kept"
        )
    with demo.step("wipe the source, copy again") as say:
        datacenter.request("DELETE", "/v1/kv/app/?recurse")
        result = demo.task(REPLICATE, copy, fails=True)
        left = len(second.get("/v1/kv/from-dc1/app/?keys"))
        say(f"refused: {result['msg'].partition(': ')[2].partition(',')[0]}; {left:,} keys are still in dc2")
    bundle = make_bundle(demo.directory)
    follow(demo, lab, bundle, datacenter, second)
    watch(demo, lab, bundle, second)
    keep(demo, lab, bundle, second)
    expected: dict[str, t.Any] = {
        "url": second.url,
        "expect": {"dc2": {"servers": [server.name for server in second.servers]}},
    }
    ignore = [{"rule": "wan_member_failed", "enabled": False}, {"rule": "autopilot_unhealthy", "enabled": False}]
    with demo.step("kill a server of dc2, judge it") as say:
        follower = next(server for server in second.followers() if server.url != second.url)
        follower.stop()
        # Gossip takes a second or two to declare it failed.
        eventually(lambda: _members(second)[follower.name] != ALIVE, what="gossip notices")
        result = demo.task(CHECK, {**expected, "rules": ignore}, fails=True)
        say(result["msg"])
    show_estate(demo, bundle, datacenter, expected["expect"])
    with demo.step("start it again, wait at the gate") as say:
        follower.start()
        result = demo.task(CHECK, {**expected, "rules": ignore, "wait": 60})
        say(f"verdict {result['verdict']} after {result['attempts']} attempts in {result['seconds']:.1f} s")
    drill(demo, bundle, second)
    with demo.step("kill dc1, read its server's disk") as say:
        dead = datacenter.servers[0]
        dead.stop()
        result = demo.task(INFO, {"path": dead.directory / "data" / "raft" / "snapshots"})
        say(f"Raft's own snapshot, up to index {result['raft_snapshot']['index']}: {result['snapshot']['datacenter']},")
        say(
            f"{sum(table['count'] for table in result['snapshot']['tables']):,} records; consulops snapshot salvage makes a file of it"
        )
    take_over(demo, datacenter, second)
    with demo.step("damage one bit of the file") as say:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        result = demo.task(INFO, {"path": path}, fails=True)
        say(result["msg"].replace(f"{path.parent}/", ""))


def show_estate(demo: Demo, bundle: Path, at: Datacenter, expect: dict[str, t.Any]) -> None:
    """Ask both datacenters at once for all that is known of them, and what to do first."""
    with demo.step("the whole estate on one page") as say:
        config = demo.directory / "estate.json"
        config.write_text(json.dumps({"expect": expect}), encoding="utf-8")
        environment = {"CONSUL_HTTP_ADDR": at.url, "CONSUL_HTTP_TOKEN": str(at.token)}
        done = run_command(bundle, "estate", "--config", config, environment=environment)
        lines = done.stdout.splitlines()
        say(f"consulops estate: exit code {done.returncode}; {lines[0]}")
        say(f"{lines[-1]}")


def drill(demo: Demo, bundle: Path, datacenter: Datacenter) -> None:
    """Run clients on a datacenter while its leader is killed, and judge what they saw."""
    history = demo.directory / "history.jsonl"
    urls = ",".join(server.url for server in datacenter.servers)
    options = ("--url", urls, "--confirm", datacenter.name, "--history", history, "--duration", "5s", "--json")
    with demo.step("kill the leader under clients") as say, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_command, bundle, "drill", "run", *options)
        eventually(lambda: history.read_text(encoding="utf-8").count('"ok"') > 100, what="clients are at work")
        leader = datacenter.leader()
        leader.stop()
        datacenter.leader()
        leader.start()
        result = json.loads(running.result().stdout)
        rows = result["operations"].values()
        say(
            f"{sum(row['ok'] for row in rows):,} operations succeeded, the outcome of {sum(row['info'] for row in rows)} is unknown;"
        )
        lost = sum(check["counts"].get("lost", 0) for check in result["judgement"]["checks"])
        say(f"the history is {result['judgement']['verdict']}: {lost} acknowledged writes lost")


def follow(demo: Demo, lab: Lab, bundle: Path, source: Datacenter, destination: Datacenter) -> None:
    """Run the replication agent: it follows changes, pauses too many deletions, and lets exactly those go on."""
    old = 200
    write(source, {f"live/{'old' if number < old else 'new'}/{number:04d}": "v" for number in range(500)})
    with Replicators(lab, bundle, demo.directory / "replicators") as agents:
        with demo.step("start the replication agent") as say:
            token_file = demo.directory / "source.token"
            token_file.touch(mode=0o600)
            token_file.write_text(str(source.token), encoding="ascii")
            connection = {"token_file": str(token_file)}
            agent = agents.start({"live": a_set(source, destination, "live/", source=connection)})
            found = wait_for_following(agent, "live")["verification"]
            say(f"{found['source_keys']:,} keys of dc1 are in dc2, equal={found['equal']}; now it follows")
        with demo.step("change a key") as say:
            took = []
            for number in range(10):
                began = time.monotonic()
                source.put("/v1/kv/live/new/0300", f"new-{number}")
                eventually(
                    lambda n=number: read(destination, "live/new/0300")["live/new/0300"][0] == b"new-%d" % n,
                    every_s=0.002,
                )
                took.append(time.monotonic() - began)
            say(f"in dc2 after {1000 * statistics.median(took):.0f} ms, the median of ten changes")
        with demo.step("delete much at its source") as say:
            source.request("DELETE", "/v1/kv/live/old/?recurse")
            paused = wait_for_status(agent, "live", lambda one: one["paused_deletes"]["count"] == old, "a pause")
            found = paused["paused_deletes"]
            say(f"{found['count']} deletions are paused: {found['reasons'][0]}")
        with demo.step("acknowledge exactly these") as say:
            where = ("--url", destination.url)
            acknowledged = run_command(bundle, "replicate", "ack", "live", found["digest"], *where)
            say(acknowledged.stdout.strip() + ";")
            wait_for_status(agent, "live", lambda one: one["written"]["deleted"] == old, "they go on")
            say(f"{len(read(destination, 'live/')):,} keys are left in dc2")


def take_over(demo: Demo, dead: Datacenter, new: Datacenter) -> None:
    """Let a datacenter take over from one that is dead."""
    failover: dict[str, t.Any] = {
        "state": "promoted",
        "source": {"url": dead.url, "datacenter": dead.name},
        "destination": {"url": new.url},
        "replication": "live",
        "reversed_by": "live-back",
        "prefixes": ["live/"],
        "confirm": new.name,
        "accept": ["unhealthy"],  # its leader was killed a moment ago
    }
    with demo.step("let dc2 take over") as say:
        refused = demo.task(FAILOVER, {**failover, "max_loss": "1s"}, fails=True)
        say(f"refused: {refused['msg'].partition(': ')[2].partition(':')[0]};")
        promoted = demo.task(FAILOVER, {**failover, "max_loss": "unknown"})
        finished = demo.task(FAILOVER, {**failover, "state": "finished"})
        say(
            f"accepted: generation {promoted['generation']}, dc2 has what was written until {promoted['loss']['until']},"
        )
        say(f"verified after {finished['took_seconds']:.1f} s")


def watch(demo: Demo, lab: Lab, bundle: Path, datacenter: Datacenter) -> None:
    """Run two instances of the alerting agent, let a check fail, stop the one that sends, and let the check recover."""
    with HttpService() as hook:
        instances = Instances(lab, bundle, demo.directory / "agents", hook)
        given = {"match": [{"service": "shop"}], "for": "0s", "recover_for": "0s"}
        try:
            with demo.step("start two alerting agents") as say:
                register_check(datacenter, "shop")
                for name in ("host1", "host2"):
                    options = {**given, "instance": name}
                    instances.start(datacenter, name="demo", options=options, service={"register": False})
                states = eventually(lambda: _states(instances) if "standby" in _states(instances) else None)
                say(f"they watch {datacenter.name}: {' and '.join(states)}")
            with demo.step("a check fails") as say:
                began = time.monotonic()
                set_check(datacenter, "shop", "critical", "HTTP 503 from the shop")
                eventually(lambda: hook.received, every_s=0.002)
                told = hook.received[0].json
                say(f"told after {1000 * (time.monotonic() - began):.0f} ms by {told['instance']}: {told['subject']};")
                say(f"output: {told['alerts'][0]['output']}")
            with demo.step("stop the sender; it recovers") as say:
                sender = next(one for one in instances.started if one.status()["state"] == "active")
                sender.stop()
                set_check(datacenter, "shop", "passing")
                eventually(lambda: len(hook.received) > 1)
                told = hook.received[1].json
                say(f"told by {told['instance']}: {told['subject']}; {len(hook.received)} messages in all")
        finally:
            instances.stop()


def keep(demo: Demo, lab: Lab, bundle: Path, datacenter: Datacenter) -> None:
    """Run the snapshot agent with an encrypted policy and two places, show what it keeps, and lose one place for a while."""
    identity = pyrage.x25519.Identity.generate()
    identity_file = demo.directory / "identity.txt"
    identity_file.touch(mode=0o600)
    identity_file.write_text(f"{identity}\n", encoding="ascii")
    places = [demo.directory / name for name in ("disk", "offsite")]
    for place in places:
        place.mkdir(mode=0o700)
    policy = a_policy(*places, interval="1s", recipients=[str(identity.to_public())])
    with Snapshotters(lab, bundle, demo.directory / "snapshotters") as agents:
        with demo.step("start the snapshot agent") as say:
            agent = agents.start(datacenter, {"often": policy})
            status = wait_for_snapshot(agent, "often")
            names = " and ".join(place.name for place in places)
            say(
                f"policy often: index {status['newest']['index']} of {datacenter.name}, encrypted with age, is in {names}"
            )
        with demo.step("lose a place for a while") as say:
            away = places[1].rename(demo.directory / "away")
            lost = wait_for_policy(agent, "often", lambda one: one["destinations"]["b"]["waiting"] >= 2, "two wait")
            away.rename(places[1])
            status = wait_for_snapshot(agent, "often")
            say(f"{lost['destinations']['b']['waiting']} snapshots waited, and are there now;")
            say(f"missed: {status['missed_slots']}, doubled: {status['doubled_slots']}")
        agent.stop()
    with demo.step("list and verify them") as say:
        listed = json.loads(run_command(bundle, "snapshot", "list", places[1], "--json").stdout)["snapshots"]
        say(
            f"consulops snapshot list: {len(listed)} snapshots, {sum(bool(one['problem']) for one in listed)} with a problem;"
        )
        options = ("--all", "--identity-file", identity_file, "--json")
        states = json.loads(run_command(bundle, "snapshot", "verify", places[1], *options).stdout)["snapshots"]
        say(f"consulops snapshot verify: {sum(one['state'] == 'verified' for one in states)} decrypted and verified")


def _states(instances: Instances) -> list[str]:
    return sorted(one.status()["state"] for one in instances.started)


def _members(datacenter: Datacenter) -> dict[str, int]:
    return {member["Name"]: member["Status"] for member in datacenter.get("/v1/agent/members")}


def _version(datacenter: Datacenter) -> str:
    return str(datacenter.get("/v1/agent/self")["Config"]["Version"])


def _loss(result: t.Mapping[str, t.Any]) -> str:
    return ", ".join(
        f"{row['table']} {row['lost'] + row['rolled_back']} changes, {row['brought_back']} brought back"
        for row in result["loss"]["tables"]
    )


def _row(table: t.Mapping[str, t.Any]) -> str:
    return f"{table['name']} {table['count']:,}"


def _difference(row: t.Mapping[str, t.Any]) -> str:
    name = row["name"] if row["table"] == "KVS" else row["name"][:8] + "…"
    return f"{row['table']} {name} {row['change']}"


if __name__ == "__main__":
    sys.exit(main())
