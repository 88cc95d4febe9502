# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops drill run`` on real datacenters: what it records while nothing fails, while a leader dies, and when it is killed."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
import threading
import typing as t
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.lab import keys
from tests.lab.agents import bare, run_command
from tests.lab.consul import Datacenter, Lab, Server, eventually
from tests.lab.drilling import lines_so_far
from tests.lab.faults import Proxy
from tests.lab.fill import new_token

Line = dict[str, t.Any]
ROOT = "consulops/drill/"


def arguments(at: Datacenter, file: Path, /, **options: object) -> list[str]:
    given: dict[str, object] = {
        "url": ",".join(server.url for server in at.servers),
        "confirm": at.name,
        "history": file,
        "duration": "1s",
        "rate": 150,
        "seed": 1,
        **options,
    }
    words = [(f"--{name.replace('_', '-')}", str(value)) for name, value in given.items() if value is not None]
    return ["drill", "run", *(word for pair in words for word in pair)]


def lines_of(history: Path) -> list[Line]:
    return [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]


def lines_of_running(history: Path) -> list[Line]:
    """Return the lines of a history that is being written: the last one may be half there."""
    return [json.loads(line) for line in history.read_text(encoding="utf-8").split("\n")[:-1]]


def ended(lines: t.Sequence[Line]) -> list[tuple[Line, Line]]:
    """Return the operations that ended, each as it was invoked and as it ended; assert that a process has one at a time."""
    opened: dict[int, Line] = {}
    retired: set[int] = set()
    pairs = []
    for line in lines:
        process = line.get("process")
        if line["type"] == "invoke":
            assert process not in opened and process not in retired
            opened[t.cast(int, process)] = line
        elif line["type"] in ("ok", "fail", "info"):
            pairs.append((opened.pop(t.cast(int, process)), line))
            if line["type"] == "info":
                retired.add(t.cast(int, process))
    return pairs


def left_keys(datacenter: Datacenter) -> list[str]:
    try:
        return list(datacenter.leader().get(f"/v1/kv/{ROOT}?keys&consistent"))
    except requests.HTTPError as error:
        assert error.response.status_code == 404, error  # Consul's answer where there are none
        return []


def of(pairs: t.Iterable[tuple[Line, Line]], workload: str, f: str) -> list[tuple[Line, Line]]:
    return [(begin, end) for begin, end in pairs if (begin["workload"], begin["f"]) == (workload, f)]


@pytest.fixture(scope="module")
def three(own_lab: Lab) -> Datacenter:
    """Three servers; a test that stops one starts it again."""
    return own_lab.datacenter("dc1", servers=3)


@pytest.fixture(scope="module")
def guarded(own_lab: Lab) -> Datacenter:
    """One server with ACLs."""
    return own_lab.datacenter("guarded", acl=True)


def start(bundle: Path, words: t.Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(bundle), *words],
        env=bare(None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(history: Path, kind: str, count: int) -> None:
    def enough() -> bool:
        return history.exists() and history.read_text(encoding="utf-8").count(f'"type": "{kind}"') >= count

    eventually(enough, what=f"{count} lines of {kind}")


def test_a_run_without_faults_is_complete_and_leaves_nothing(three: Datacenter, bundle: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    done = run_command(bundle, *arguments(three, history, keys=3, duration="2s"), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    header, *lines = lines_of(history)
    names = [server.name for server in three.servers]
    assert header["type"] == "header" and header["format"] == 1 and header["drill"] == "baseline"
    assert (header["datacenter"], header["nodes"], header["seed"]) == ("dc1", names, 1)
    assert header["workloads"] == ["register", "set", "lock"] and header["consistency"] == "default"

    pairs = ended(lines)
    assert len(pairs) == sum(line["type"] == "invoke" for line in lines), "an operation has no end"
    assert not [end for _begin, end in pairs if end["type"] == "info"]
    counts = Counter((begin["workload"], end["type"]) for begin, end in pairs if "final" not in begin)
    assert {name: dict(row) for name, row in result["operations"].items()} == {
        name: {outcome: counts[name, outcome] for outcome in ("ok", "fail", "info")} for name in header["workloads"]
    }
    assert {begin["node"] for begin, _end in pairs} == set(names), "clients use all addresses"
    assert all(begin["intended"] <= begin["time"] <= end["time"] for begin, end in pairs)

    # A value is written once, and its index is that of Consul: who read it saw the same one.
    indexes = {end["value"]: end["index"] for _begin, end in of(pairs, "register", "write") if end["type"] == "ok"}
    changed = [end for _begin, end in of(pairs, "register", "cas") if end["type"] == "ok"]
    indexes.update({end["value"][1]: end["index"] for end in changed})
    assert changed and len(set(indexes.values())) == len(indexes)
    reads = [end for _begin, end in of(pairs, "register", "read") if end["type"] == "ok" and end["value"] is not None]
    assert reads and all(indexes[end["value"]] == end["index"] for end in reads)

    added = {end["value"] for _begin, end in of(pairs, "set", "add")}
    final = [(begin["node"], set(end["value"])) for begin, end in of(pairs, "set", "read") if begin["final"]]
    assert added and sorted(final) == [(name, added) for name in names]

    taken = [end for _begin, end in of(pairs, "lock", "acquire") if end["type"] == "ok"]
    released = [end for _begin, end in of(pairs, "lock", "release")]
    assert taken and sorted(end["value"] for end in taken) == sorted(end["value"] for end in released)
    assert all(end["until"] > end["time"] for end in taken)

    leaders = {line["node"]: line["leader"] for line in lines if line.get("event") == "leader"}
    assert leaders == dict.fromkeys(names, f"{three.leader().address}:8300")
    assert re.search(r"^consulops: \d+ s of 2 s: ", done.stderr) and result["latency_ms"]["p50"] > 0
    assert left_keys(three) == [] and three.get("/v1/session/list?consistent") == []


def other_leader(history: Path, leader: Server) -> dict[str, t.Any] | None:
    """Return the first event of a history so far that says that another server leads."""
    known = (None, "", f"{leader.address}:8300")
    found = (line for line in lines_so_far(history) if line.get("event") == "leader" and line["leader"] not in known)
    return next(found, None)


def test_a_killed_leader_makes_unknown_outcomes_and_loses_no_acknowledged_addition(
    three: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    leader = three.leader()
    words = arguments(three, history, duration="15s", rate=200, clients=24, timeout=1, settle="60s")
    drill = start(bundle, [*words, "--json"])
    wait_for_lines(history, "ok", 100)
    leader.stop()
    first = eventually(lambda: other_leader(history, leader), 60, "the clients see another leader")
    leader.start()
    output, messages = drill.communicate(timeout=60)
    assert drill.returncode == 0, messages
    lines = lines_of(history)
    pairs = ended(lines)
    unknown = [(begin, end) for begin, end in pairs if end["type"] == "info"]
    assert unknown and all(end["error"] and begin["f"] != "read" for begin, end in unknown)
    refused = [
        end for begin, end in pairs if begin["node"] == leader.name and "Connection refused" in end.get("error", "")
    ]
    assert refused and {end["type"] for end in refused} == {"fail"}, "what was not sent did not happen"

    assert [
        end for begin, end in pairs if end["type"] == "ok" and begin["f"] == "add" and begin["time"] > first["time"]
    ]

    acknowledged = {end["value"] for _begin, end in of(pairs, "set", "add") if end["type"] == "ok"}
    finals = of(pairs, "set", "read")
    assert len(finals) == 3 and all(acknowledged <= set(end["value"]) for _begin, end in finals)
    checks = json.loads(output)["judgement"]["checks"]
    assert {check["checker"]: check["verdict"] for check in checks} == dict.fromkeys(
        ("linearizability", "index_order", "contents", "holders"), "valid"
    )
    assert sum(row["info"] for row in json.loads(output)["operations"].values()) == len(unknown)
    assert left_keys(three) == []

    written = run_command(bundle, "drill", "report", history, "--output", tmp_path / "report.html")
    assert written.returncode == 0, written.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{leader.address}:8300" in page and first["leader"] in page
    assert f"<dd>{len(pairs):,}</dd>" in page and ">Valid</h1>" in page


def test_stale_reads_of_a_server_that_was_stopped_are_rejected(three: Datacenter, bundle: Path, tmp_path: Path) -> None:
    # What it was asked meanwhile it answers when it goes on, before it has caught up.
    history = tmp_path / "history.jsonl"
    follower = three.followers()[0]
    options = {"workload": "register", "consistency": "stale", "keys": 1, "clients": 30, "timeout": 5}
    drill = start(bundle, [*arguments(three, history, duration="3s", **options), "--json"])
    wait_for_lines(history, "ok", 50)
    follower.pause()
    try:
        asked = sum(line["type"] == "ok" for line in lines_of_running(history))
        wait_for_lines(history, "ok", asked + 25)
    finally:
        follower.resume()
    output, messages = drill.communicate(timeout=60)
    assert drill.returncode == 3 and "consulops: the history is invalid: " in messages
    judgement = json.loads(output)["judgement"]
    assert {check["checker"]: check["verdict"] for check in judgement["checks"]} == dict.fromkeys(
        ("linearizability", "index_order"), "invalid"
    )
    assert "Consul does not promise that they are up to date" in str(judgement["checks"][0]["remarks"])
    assert left_keys(three) == []


def test_a_drill_that_is_killed_leaves_a_history_up_to_then(three: Datacenter, bundle: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    drill = start(bundle, arguments(three, history, duration="60s"))
    wait_for_lines(history, "ok", 100)
    drill.kill()
    drill.communicate()
    text = history.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()[:-1]]  # only the last one may be cut
    pairs = ended(lines)
    assert len(pairs) >= 100
    # Every addition that Consul has and that ended is in the history, and what it acknowledged is in Consul.
    folder = f"{ROOT}{lines[0]['run']}/set/"
    stored = {int(name[len(folder) :]) for name in three.leader().get(f"/v1/kv/{folder}?keys&consistent")}
    assert stored >= {end["value"] for _begin, end in of(pairs, "set", "add") if end["type"] == "ok"}
    assert stored <= {line["value"] for line in map(json.loads, text.splitlines()) if line.get("f") == "add"}

    # It can be judged: what the last copies have is unknown, and nothing else is wrong.
    judged = run_command(bundle, "drill", "check", history)
    assert judged.returncode == 3 and "the history is unknown: set: there is no final read" in judged.stderr

    # The next drill names what is left and goes on.
    second = run_command(bundle, *arguments(three, tmp_path / "second.jsonl"))
    assert second.returncode == 0 and f"remove them: consul kv delete -recurse {ROOT}" in second.stderr
    assert {key.split("/")[2] for key in left_keys(three)} == {lines[0]["run"]}
    three.leader().request("DELETE", f"/v1/kv/{ROOT}?recurse")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_reads_what_is_left_and_removes_it(
    number: signal.Signals, three: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    drill = start(bundle, [*arguments(three, history, duration="60s"), "--json"])
    wait_for_lines(history, "ok", 30)
    drill.send_signal(number)
    output, _messages = drill.communicate(timeout=30)
    assert drill.returncode == 130
    result = json.loads(output)
    assert result["interrupted"] and result["seconds"] < 30
    pairs = ended(lines_of(history))
    assert len([end for _begin, end in of(pairs, "set", "read") if end["type"] == "ok"]) == 3
    assert left_keys(three) == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"confirm": None}, 3, "A drill writes to the datacenter guarded"),
        ({"confirm": "dc9"}, 3, "The confirmation names 'dc9', and the datacenter is guarded."),
        ({"datacenter": "dc9"}, 2, "datacenter is dc9, and the agents are of guarded"),
        ({"rate": 100000}, 2, "rate is 100000: it must be between 0.1 and 2,000"),
        ({"workload": "bank"}, 2, "workload 'bank' is unknown"),
        ({"prefix": "shop/"}, 3, "Below 'shop/' there are keys that are not of a drill (shop/price)"),
        ({"history": "/dev/full"}, 1, "writing the history /dev/full: No space left on device."),
        ({"history": "/no/such/file"}, 1, "creating the history /no/such/file: No such file or directory."),
        ({"url": "http://127.0.0.1:1"}, 1, "Connection refused. Is the Consul agent running there?"),
        ({"url": "http://127.0.0.1:1,"}, 2, "write addresses with commas between them"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence_and_nothing_is_written(
    options: dict[str, object], code: int, words: str, guarded: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    keys.write(guarded, {"shop/price": "7"})
    words_of_command = arguments(guarded, tmp_path / "history.jsonl", **options)
    done = run_command(bundle, *words_of_command, environment={"CONSUL_HTTP_TOKEN": str(guarded.token)})
    assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert left_keys(guarded) == []


READER = 'agent_prefix "" { policy = "read" } key_prefix "" { policy = "read" } session_prefix "" { policy = "read" }'


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (READER, "PUT /v1/kv/consulops/drill/"),
        (f'{READER} key_prefix "consulops/drill/" {{ policy = "write" }}', "PUT /v1/session/create"),
        ('agent_prefix "" { policy = "read" }', "GET /v1/kv/consulops/drill/"),
    ],
)
def test_a_token_without_rights_is_refused_before_anything_runs(
    rules: str, words: str, guarded: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    environment = {"CONSUL_HTTP_TOKEN": new_token(guarded, rules)}
    done = run_command(bundle, *arguments(guarded, tmp_path / "history.jsonl"), environment=environment)
    assert done.returncode == 1 and words in done.stderr and "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1 and left_keys(guarded) == []


def test_a_full_disk_in_the_middle_ends_the_drill_and_removes_its_keys(
    guarded: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    # A limit of the size of files stops the writer as a full disk does, with another word.
    words = " ".join(arguments(guarded, history, duration="60s"))
    limited = f"trap '' XFSZ; ulimit -f 64; exec {sys.executable} -I {bundle} {words}"
    done = subprocess.run(
        ["bash", "-c", limited],
        env=bare({"CONSUL_HTTP_TOKEN": str(guarded.token)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"consulops: writing the history {history}: File too large.")
    assert len(ended([json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()[:-1]])) > 50
    assert left_keys(guarded) == []


def test_a_write_that_arrives_after_the_end_leaves_nothing_behind(
    guarded: Datacenter, proxy: t.Callable[..., Proxy], bundle: Path, tmp_path: Path
) -> None:
    drill_is_over = threading.Event()
    late: queue.Queue[tuple[int, bytes]] = queue.Queue()
    delayed: list[int] = []
    between = proxy(guarded.url)

    def before_forward(_method: str, path: str) -> None:
        if path.startswith("/v1/txn") and not delayed:
            delayed.append(threading.get_ident())
            drill_is_over.wait(60)

    def change_answer(status: int, body: bytes) -> tuple[int, bytes]:
        if threading.get_ident() in delayed:
            late.put((status, body))
        return status, body

    between.before_forward, between.change_answer = before_forward, change_answer
    history = tmp_path / "history.jsonl"
    words = arguments(guarded, history, url=between.url, workload="set", timeout=5)
    try:
        done = run_command(bundle, *words, environment={"CONSUL_HTTP_TOKEN": str(guarded.token)})
    finally:
        drill_is_over.set()
    assert done.returncode == 0, done.stderr
    (unknown,) = [end for _begin, end in ended(lines_of(history)) if end["type"] == "info"]
    assert "no answer within 5 s" in unknown["error"]
    status, body = late.get(timeout=30)
    assert status == 409 and b"/drill" in body, "Consul refuses it, because the marker is gone"
    assert left_keys(guarded) == []


def test_a_marker_that_someone_deletes_ends_the_drill(guarded: Datacenter, bundle: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    drill = subprocess.Popen(
        [sys.executable, "-I", str(bundle), *arguments(guarded, history, duration="60s")],
        env=bare({"CONSUL_HTTP_TOKEN": str(guarded.token)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_lines(history, "ok", 30)
    run = lines_of(history)[0]["run"]
    guarded.request("DELETE", f"/v1/kv/{ROOT}{run}/drill")
    _output, messages = drill.communicate(timeout=30)
    assert drill.returncode == 1 and f"The key {ROOT}{run}/drill was deleted or changed by someone else" in messages
    assert left_keys(guarded) == []


def test_the_outcome_is_published_and_judged(three: Datacenter, bundle: Path, tmp_path: Path) -> None:
    drill = {"name": "mine", "title": "Mine", "load": {"duration": "1s", "workload": "set"}}
    config = tmp_path / "drill.json"
    config.write_text(json.dumps({"drill": drill, "publish": True}), encoding="utf-8")
    words = [*arguments(three, tmp_path / "h1.jsonl", duration=None), "--config", str(config)]
    rules = tmp_path / "rules.json"
    named = [{"rule": "drill_failed"}, {"rule": "drill_overdue", "warning": "1h"}]
    rules.write_text(json.dumps({"rules": named}), encoding="utf-8")
    check = ["alert", "check", "--url", three.url, "--config", str(rules), "--json"]

    def findings() -> list[tuple[str, str]]:
        result = json.loads(run_command(bundle, *check).stdout)
        return [(one["rule"], one["summary"]) for one in result["findings"] if one["rule"].startswith("drill")]

    assert findings() == [("drill_overdue", "no drill of dc1 is known")]
    done = run_command(bundle, *words, "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0 and "The history is valid." in done.stdout, done.stderr
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert findings() == []
    drill["expect"] = {"gap_at_fault": "1s"}  # without a fault that is not known, which is not met
    config.write_text(json.dumps({"drill": drill, "publish": True}), encoding="utf-8")
    missed = run_command(bundle, *[*words[:-1], str(config)], "--history", str(tmp_path / "h2.jsonl"))
    assert missed.returncode == 3 and "Not known: no fault was made." in missed.stderr, missed.stderr
    assert findings() == [("drill_failed", "the last drill mine of dc1 was not as expected")]
    assert left_keys(three) == []


def test_a_drill_with_faults_needs_hosts_and_one_sentence_says_what_is_wrong_with_them(
    three: Datacenter, bundle: Path, tmp_path: Path
) -> None:
    step = {"at": "1s", "for": "2s", "fault": "killed", "targets": "leader"}
    options: dict[str, t.Any] = {"drill": {"name": "mine", "title": "Mine", "faults": [step]}}
    config = tmp_path / "drill.json"

    def run(**more: t.Any) -> str:
        config.write_text(json.dumps({**options, **more}), encoding="utf-8")
        words = ["drill", "run", "--config", str(config), "--confirm", "dc1", "--history", str(tmp_path / "h.jsonl")]
        done = run_command(bundle, *words)
        assert done.returncode not in (0, 3) and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    assert "it needs hosts, how to reach each server" in run()
    assert "drill.faults[0].targets: 'boss' is not one of" in run(
        drill={"name": "m", "title": "M", "faults": [{**step, "targets": "boss"}]}
    )
    assert "hosts: a is there twice" in run(hosts=[{"name": "a", "ssh": ["ssh"]}] * 2)
    assert "no-such-program cannot be run" in run(hosts=[{"name": "a", "ssh": ["no-such-program"]}])

    def ssh(script: str) -> list[dict[str, t.Any]]:
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        return [{"name": "a", "ssh": [str(program)]}]

    assert "a: the connection ended: it is closed" in run(hosts=ssh("echo it is closed >&2; exit 255"))
    assert "the answer is not what was asked for" in run(hosts=ssh("echo hello; cat >/dev/null"))
    assert not (tmp_path / "h.jsonl").exists()
