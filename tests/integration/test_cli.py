# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command consulops, run from the bundle that hosts get: its tables, JSON and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from tests.lab import craft, keys
from tests.lab.agents import bare, run_command
from tests.lab.ansible import run_module
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import fill, new_token, register_checks, set_status
from tests.lab.recorded import NEW, recorded
from tests.lab.tables import tables

Run = t.Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(bundle: Path) -> Run:
    def command(*arguments: object, at: Datacenter | None = None, **options: t.Any) -> subprocess.CompletedProcess[str]:
        environment = {"CONSUL_HTTP_ADDR": at.url} if at else {}
        if at and at.token:
            environment["CONSUL_HTTP_TOKEN"] = at.token
        return run_command(bundle, *arguments, environment={**environment, **options.pop("environment", {})}, **options)

    return command


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, t.Any]:
    result: dict[str, t.Any] = json.loads(done.stdout)
    return result


def test_snapshots_are_saved_listed_inspected_and_compared(dc1: Datacenter, run: Run, tmp_path: Path) -> None:
    saved = run("snapshot", "save", tmp_path, at=dc1)
    assert saved.returncode == 0 and saved.stdout.startswith("saved: ")
    path = next(tmp_path.glob("*.snap"))
    listed = run("snapshot", "list", tmp_path, "--verify")
    assert "verified" in listed.stdout and str(path) in listed.stdout
    inspected = run("snapshot", "inspect", path, "--kv-depth", 1)
    assert "TABLE" in inspected.stdout and "app/" in inspected.stdout
    equal = run("snapshot", "diff", path, "--exit-code", at=dc1)
    assert (equal.returncode, equal.stdout) == (0, "equal: the same records, the same digest\n")
    keys.write(dc1, {"cli/new": "1"})
    differs = run("snapshot", "diff", path, "--exit-code", at=dc1)
    assert differs.returncode == 5 and "+ KVS cli/new" in differs.stdout
    assert run("snapshot", "diff", path, at=dc1).returncode == 0
    keys.delete(dc1, "cli/new")
    again = run("snapshot", "save", tmp_path, "--max-age", "1h", at=dc1)
    assert again.stdout.startswith("not saved: ") and len(list(tmp_path.glob("*.snap"))) == 1


def test_a_version_that_would_not_load_a_snapshot_is_named_with_every_record(run: Run, tmp_path: Path) -> None:
    tokens = [craft.record(17, {"SecretID": f"s3cret-{name}", "Description": name}) for name in ("one", "two", "three")]
    path = craft.write(tmp_path / "old.snap", craft.key("a"), *tokens)
    done = run("snapshot", "inspect", path, "--restorable-in", "1.14", "--restorable-in", "1.19.2", "--limit", 2)
    assert done.returncode == 0 and "Consul 1.14 would load it\n" in done.stdout
    lines = done.stdout.partition("Consul 1.19 would NOT load it as it is:\n")[2].splitlines()
    assert lines[0].endswith("'one'): no AccessorID; Consul 1.15 and later cannot load it (2 more records like it)")
    assert lines[1].startswith("    record 3") and lines[1].endswith("'two'")
    assert lines[2:] == ["    and 1 record more (raise --limit to list them)"] and "s3cret" not in done.stdout
    assert run("snapshot", "inspect", path, "--restorable-in", "1.19", "--exit-code").returncode == 5
    assert run("snapshot", "inspect", path, "--restorable-in", "1.14", "--exit-code").returncode == 0
    bad = run("snapshot", "inspect", path, "--restorable-in", "latest")
    assert (bad.returncode, bad.stdout) == (2, "") and "'latest' is not a version of Consul" in bad.stderr


def test_the_state_of_a_killed_server_is_salvaged_and_restored_into_a_new_one(
    lab: Lab, run: Run, tmp_path: Path
) -> None:
    # One new log entry is enough for Raft to take a snapshot, which it looks for every second or two.
    dead = lab.datacenter(extra={"raft_snapshot_threshold": 1, "raft_snapshot_interval": "1s"})
    server, snapshots = dead.servers[0], dead.servers[0].directory / "data" / "raft" / "snapshots"
    fill(dead, keys=50)
    last = int(server.get("/v1/agent/self")["Stats"]["raft"]["applied_index"])
    eventually(
        lambda: any(int(path.name.split("-")[1]) >= last for path in snapshots.glob("*-*[0-9]")), what="a Raft snapshot"
    )
    before = tables(dead.snapshot())
    server.stop()
    inspected = run("snapshot", "inspect", snapshots)
    assert inspected.returncode == 0 and "app/web/" in inspected.stdout and str(snapshots) in inspected.stdout
    salvaged = run("snapshot", "salvage", snapshots, tmp_path / "salvaged.snap")
    assert salvaged.returncode == 0, salvaged.stderr
    assert salvaged.stdout.startswith("salvaged: the state of 20")
    assert "later entries of the server's log are not in it" in salvaged.stdout
    assert (tmp_path / "salvaged.snap").stat().st_mode & 0o777 == 0o600
    assert run("snapshot", "salvage", snapshots, tmp_path / "salvaged.snap").returncode == 3
    assert "app/web/" in str(run_module("consul_snapshot_info", path=snapshots)["kv"])

    with Lab(tmp_path / "another-disk") as other:
        fresh = other.datacenter(dead.name)
        restored = run("snapshot", "restore", tmp_path / "salvaged.snap", "--yes", at=fresh)
        assert restored.returncode == 0 and "verified: the state equals the snapshot" in restored.stdout
        assert tables(fresh.snapshot()) == before


def test_the_json_is_the_result_of_the_module(dc1: Datacenter, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "one.snap"
    by_command = as_json(run("snapshot", "save", path, "--json", at=dc1))
    by_module = run_module("consul_snapshot", path=tmp_path / "two.snap", url=dc1.url)
    of_ansible = {"invocation", "owner", "group", "uid", "gid", "mode", "size", "state"}  # added by Ansible for a file
    assert set(by_module) - of_ansible == set(by_command)
    assert set(by_module["snapshot"]) == set(by_command["snapshot"])
    by_command = as_json(run("snapshot", "inspect", path, "--json"))
    by_module = run_module("consul_snapshot_info", path=path)
    by_module.pop("invocation", None)
    assert by_command == by_module


def test_a_restore_needs_confirmation(lab: Lab, run: Run, tmp_path: Path) -> None:
    datacenter = lab.datacenter()
    fill(datacenter, keys=20)
    path = tmp_path / "one.snap"
    assert run("snapshot", "save", path, at=datacenter).returncode == 0
    (tmp_path / "safety").mkdir()
    safety = ("--safety-path", tmp_path / "safety")
    refused = run("snapshot", "restore", path, *safety, at=datacenter)
    assert refused.returncode == 2 and "review with --check, then give --yes" in refused.stderr
    keys.write(datacenter, {"app/damage": "1"})
    planned = run("snapshot", "restore", path, "--check", *safety, at=datacenter)
    assert planned.returncode == 0 and "KV" in planned.stdout and "app/damage" in keys.read(datacenter)
    restored = run("snapshot", "restore", path, "--yes", *safety, at=datacenter)
    assert restored.returncode == 0, restored.stderr
    assert "verified: the state equals the snapshot" in restored.stdout and "app/damage" not in keys.read(datacenter)
    again = run("snapshot", "restore", path, "--yes", *safety, at=datacenter)
    assert again.returncode == 0 and "verified" not in again.stdout


def at_a_terminal(
    bundle: Path,
    datacenter: Datacenter,
    typed: str,
    *arguments: object,
    before_typing: t.Callable[[], object] = lambda: None,
) -> tuple[int, str]:
    """Run a command at a terminal, type one line, and return the exit code and the text on the screen."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", str(bundle), *map(str, arguments)],
        env=bare({"CONSUL_HTTP_ADDR": datacenter.url}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    screen = ""
    try:
        while True:
            try:
                screen += os.read(controller, 4096).decode()
            except OSError:  # on Linux: the last process has closed the terminal
                return process.wait(30), screen
            if screen.endswith("to continue: "):
                before_typing()
                os.write(controller, f"{typed}\n".encode())
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_a_restore_is_confirmed_by_typing_the_datacenters_name(
    lab: Lab, run: Run, bundle: Path, tmp_path: Path
) -> None:
    datacenter = lab.datacenter()
    keys.write(datacenter, {"app/a": "1"})
    path = tmp_path / "one.snap"
    assert run("snapshot", "save", path, at=datacenter).returncode == 0
    keys.write(datacenter, {"app/b": "1"})
    safety = tmp_path / "safety"
    safety.mkdir()
    command = ("snapshot", "restore", path, "--safety-path", safety)
    code, screen = at_a_terminal(bundle, datacenter, "yes", *command)
    assert code == 3 and "the restore was not confirmed, nothing was changed." in screen
    assert set(keys.read(datacenter)) == {"app/a", "app/b"} and not list(safety.iterdir())
    other = tmp_path / "other.snap"
    assert run("snapshot", "save", other, at=datacenter).returncode == 0
    kept = path.read_bytes()
    code, screen = at_a_terminal(bundle, datacenter, "dc1", *command, before_typing=lambda: other.replace(path))
    assert code == 0, "the other snapshot is the live state: there is nothing to restore"
    assert set(keys.read(datacenter)) == {"app/a", "app/b"}

    def replace_and_damage() -> None:
        path.replace(other)
        path.write_bytes(kept)
        keys.write(datacenter, {"app/c": "1"})

    keys.write(datacenter, {"app/d": "1"})
    code, screen = at_a_terminal(bundle, datacenter, "dc1", *command, before_typing=replace_and_damage)
    assert code == 3 and "What would be restored is not what was confirmed" in screen
    assert set(keys.read(datacenter)) == {"app/a", "app/b", "app/c", "app/d"} and not list(safety.iterdir())
    code, screen = at_a_terminal(bundle, datacenter, "dc1", *command)
    assert code == 0 and "LOST" in screen and set(keys.read(datacenter)) == {"app/a"}


def replication(directory: Path, source: Datacenter, destination: Datacenter) -> Path:
    path = directory / "replicate.json"
    sides = {"source": {"url": source.url}, "destination": {"url": destination.url}}
    path.write_text(json.dumps({**sides, "prefixes": [{"source": "app/"}]}), encoding="utf-8")
    return path


def test_replication_is_planned_and_run_once(lab: Lab, run: Run, tmp_path: Path) -> None:
    east, west = lab.datacenter("east"), lab.datacenter("west")
    keys.write(east, {f"app/{number}": "v" for number in range(10)})
    config = replication(tmp_path, east, west)
    assert run("check-config", config, "--as", "replicate").returncode == 0
    planned = run("replicate", "plan", "--config", config, "--exit-code")
    assert planned.returncode == 5 and "east -> west" in planned.stdout and keys.read(west) == {}
    copied = as_json(run("replicate", "once", "--config", config, "--json"))
    assert copied["changed"] and copied["prefixes"][0]["created"] == 10
    assert keys.read(west, "app/") == keys.read(east, "app/")
    again = run("replicate", "once", "--config", config, "--exit-code")
    assert again.returncode == 0
    for number in range(10):
        keys.delete(east, f"app/{number}")
    refused = run("replicate", "once", "--config", config)
    assert refused.returncode == 3 and "app/" in refused.stderr and len(keys.read(west, "app/")) == 10
    failed = as_json(run("replicate", "once", "--config", config, "--json"))
    assert failed["failed"] and failed["msg"] in refused.stderr.replace("consulops: ", "")


def test_a_critical_finding_fails_an_alert_check(lab: Lab, run: Run) -> None:
    datacenter = lab.datacenter()
    eventually(lambda: "verdict: ok" in run("alert", "check", at=datacenter).stdout, what="there are no findings")
    register_checks(datacenter, 10)
    set_status(datacenter, "node-00000", "check-3", "critical")

    def is_refused() -> bool:
        return run("alert", "check", at=datacenter).returncode == 3

    eventually(is_refused, what="the check fails")
    result = as_json(run("alert", "check", "--json", at=datacenter))
    assert result["failed"] and [finding["check"] for finding in result["findings"]] == ["check-3"]
    closed = run("alert", "check", at=datacenter)
    assert all('is critical (output: "it is critical")' in text for text in (closed.stdout, closed.stderr))
    assert run("alert", "check", "--fail-on", "never", at=datacenter).returncode == 0


def test_secrets_come_from_files_and_the_environment_only(secured: Datacenter, run: Run, tmp_path: Path) -> None:
    token = new_token(secured, 'key_prefix "" { policy = "read" }')
    command = ("snapshot", "save", tmp_path / "one.snap", "--url", secured.url)
    denied = run(*command, environment={"CONSUL_HTTP_TOKEN": token})
    assert denied.returncode == 1 and "denied" in denied.stderr.lower() and token not in denied.stderr
    (tmp_path / "token").write_text(t.cast(str, secured.token))
    assert run(*command, "--token-file", tmp_path / "token").returncode == 0
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "token").rename(credentials / "token")
    assert run(*command, environment={"CREDENTIALS_DIRECTORY": str(credentials)}).returncode == 0
    argument = run(*command, "--token", token)
    assert argument.returncode == 2 and "secrets are not accepted as arguments" in argument.stderr
    assert token not in argument.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "usage: consulops"),
        (("snapshot",), 2, "usage: consulops snapshot"),
        (("snapshot", "shave"), 2, "invalid choice: 'shave'"),
        (("snapshot", "save", "/tmp", "--maxage", "1h"), 2, "unrecognized arguments: --maxage"),
        (("snapshot", "list", "/does/not/exist"), 1, "/does/not/exist"),
        (("snapshot", "inspect", "/etc/passwd"), 1, "/etc/passwd"),
        (("snapshot", "save", "/tmp/x.snap", "--url", "127.0.0.1:1"), 1, "127.0.0.1:1"),
        (
            ("replicate", "plan", "--config", "/does/not/exist"),
            2,
            "/does/not/exist: the configuration cannot be read: No such file or directory",
        ),
        (("alert", "check", "--fail-on", "sometimes"), 2, "invalid choice: 'sometimes'"),
        (("check-config", "/etc/passwd"), 2, "/etc/passwd: line 1, column 1"),
        (("agent", "--config", "/etc/passwd"), 2, "/etc/passwd: line 1, column 1"),
        (("check-config", ""), 2, "the file name is empty"),
        (("snapshot", "save", ""), 2, "the file name is empty"),
        (("alert", "check", "--config", ""), 2, "the file name is empty"),
    ],
)
def test_invalid_arguments_are_refused_with_a_sentence(
    run: Run, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = run(*arguments)
    assert done.returncode == code and sentence in done.stdout + done.stderr


def test_the_version_lists_the_libraries(run: Run) -> None:
    result = as_json(run("version", "--json"))
    assert result["collection"] == "consulops.failover" and result["bundle"]["version"] == result["version"]
    shown = run("version").stdout
    assert "msgpack" in shown and "requests" in shown


@pytest.mark.parametrize(
    ("file_type", "content", "sentence"),
    [
        ("alert", {"rules": [{"rule": "nonsense"}]}, "rules[0]: there is no rule 'nonsense'"),
        ("alert", {"expect": {"dc1": 5}}, "expect.dc1 must be"),
        ("alert", {"wait": -1}, "wait is -1"),
        ("alert", {"url": "ftp://x"}, "unknown scheme 'ftp'"),
        ("alert", {"connections": [{"timeout": -1}]}, "timeout"),
        ("alert", {"token_file": "/does/not/exist"}, "/does/not/exist"),
        ("alert", {"datacenter": "\ud800"}, "half of a surrogate pair"),
        ("replicate", {"prefixes": []}, "prefixes is an empty list"),
        ("replicate", {"prefixes": [{"source": "a"}]}, "Write 'a/'"),
        ("replicate", {"prefixes": [{"source": "a/"}], "batch_ops": "many"}, "batch_ops 'many'"),
        ("replicate", {"prefixes": [{"source": "a/"}]}, "copied onto itself"),
    ],
)
def test_check_config_refuses_what_the_command_refuses(
    run: Run, tmp_path: Path, file_type: str, content: dict[str, t.Any], sentence: str
) -> None:
    (tmp_path / "file.json").write_text(json.dumps(content), encoding="utf-8")
    for command in (("check-config", "--as", file_type), {"alert": ("alert", "check", "--config")}.get(file_type, ())):
        if command:
            done = run(*command, tmp_path / "file.json")
            assert done.returncode == 2 and sentence in done.stderr, done


def test_a_number_with_thousands_of_digits_is_refused(run: Run, tmp_path: Path) -> None:
    for digits in (400, 5000):
        (tmp_path / "file.json").write_text(f'{{"wait": {"9" * digits}}}', encoding="utf-8")
        assert run("check-config", "--as", "alert", tmp_path / "file.json").returncode == 2


def test_a_path_in_a_file_may_contain_a_tilde_and_variables(run: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t", encoding="ascii")
    (tmp_path / "file.json").write_text('{"token_file": "~/token", "snapshots": "$HOME"}', encoding="ascii")
    done = run("check-config", "--as", "alert", tmp_path / "file.json", environment={"HOME": str(tmp_path)})
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    "option", ["--http_auth=me:hidden", "--tokens=hidden", "--password=hidden", "--http-auth=hidden"]
)
def test_an_argument_that_may_be_a_secret_is_not_repeated(run: Run, option: str) -> None:
    done = run("alert", "check", option)
    assert (
        done.returncode == 2 and "secrets are not accepted as arguments" in done.stderr and "hidden" not in done.stderr
    )


def shell(bundle: Path, words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does; its exit code is the last line of the output."""
    command = f"{sys.executable} -I {bundle} {words}; echo ${{PIPESTATUS[0]}}"
    return subprocess.run(
        ["bash", "-c", command],
        env=bare(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--help | head -n 0", 0, ""),
        ("version | head -n 0", 0, ""),
        ("alert check --url 127.0.0.1:1 | head -n 0", 3, "the gate is closed"),
        ("alert check --url 127.0.0.1:1 >&-", 3, "the gate is closed"),
        ("alert check --url 127.0.0.1:1 >/dev/full", 3, "No space left on device"),
        ("version >/dev/full", 1, "No space left on device"),
        ("version >&-", 0, ""),
        ("alert check --url 127.0.0.1:1 2>&- >/dev/null", 3, ""),
        ("alert check --url 127.0.0.1:1 2>/dev/full >/dev/null", 3, ""),
        ("snapshot restore /x.snap <&-", 2, "standard input is not a terminal"),
    ],
)
def test_the_exit_code_does_not_depend_on_the_reader_of_the_output(
    bundle: Path, words: str, code: int, message: str
) -> None:
    done = shell(bundle, words)
    assert done.stdout.split()[-1] == str(code) and message in done.stderr and "Traceback" not in done.stderr
    assert message or done.stderr == ""


def test_debug_logs_to_standard_error_without_secrets(secured: Datacenter, run: Run, tmp_path: Path) -> None:
    command = ("snapshot", "save", tmp_path / "one.snap", "--check", "--json")
    quiet, verbose = run(*command, at=secured), run(*command, "--debug", at=secured)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert verbose.returncode == 0 and set(as_json(verbose)) == set(as_json(quiet))
    assert f"ms: connecting to {secured.url}" in verbose.stderr and "check mode on" in verbose.stderr
    assert t.cast(str, secured.token) not in verbose.stderr


def test_control_characters_in_names_are_escaped(lab: Lab, run: Run) -> None:
    datacenter = lab.datacenter()
    register_checks(datacenter, 10)
    set_status(datacenter, "node-00000", "a\nverdict: ok\x1b[2J", "critical")
    eventually(lambda: run("alert", "check", at=datacenter).returncode == 3, what="the check fails")
    done = run("alert", "check", at=datacenter, environment={"PYTHONIOENCODING": "latin-1"})
    assert "\x1b" not in done.stdout + done.stderr and "\\nverdict: ok\\x1b[2J" in done.stdout
    assert "verdict: ok" not in done.stdout.splitlines() and done.stdout.splitlines()[-1] == "verdict: critical"


def test_the_exit_code_of_a_list_reports_a_broken_snapshot(dc1: Datacenter, run: Run, tmp_path: Path) -> None:
    assert run("snapshot", "save", tmp_path / "one.snap", at=dc1).returncode == 0
    assert run("snapshot", "list", tmp_path, "--verify", "--exit-code").returncode == 0
    with (tmp_path / "one.snap").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\x00\xff")
    assert run("snapshot", "list", tmp_path, "--verify").returncode == 0
    broken = run("snapshot", "list", tmp_path, "--verify", "--exit-code")
    assert broken.returncode == 5 and "BROKEN" in broken.stdout


def test_an_interrupted_restore_reports_what_may_have_happened(
    lab: Lab, run: Run, bundle: Path, tmp_path: Path
) -> None:
    datacenter = lab.datacenter()
    keys.write(datacenter, {"app/a": "1"})
    assert run("snapshot", "save", tmp_path / "one.snap", at=datacenter).returncode == 0
    keys.write(datacenter, {"app/b": "2"})
    with Proxy(datacenter.url, f"{lab.network}.250", fault="hang", path="/v1/snapshot", method="PUT") as slow:
        process = subprocess.Popen(
            [sys.executable, "-I", str(bundle), "snapshot", "restore", str(tmp_path / "one.snap"), "--yes"]
            + ["--url", slow.url, "--safety-path", str(tmp_path)],
            env=bare(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: ("PUT", "/v1/snapshot") in slow.requests, what="the restore is sent")
        process.send_signal(signal.SIGINT)
        _stdout, stderr = process.communicate(timeout=20)
    assert process.returncode != 0 and "interrupted by the user" in stderr and "The state before is in" in stderr
    again = run("snapshot", "restore", tmp_path / "one.snap", "--yes", "--safety-path", tmp_path, at=datacenter)
    assert again.returncode == 3 and "attempted_before" in again.stderr, "the restore request is not sent a second time"


def test_an_interrupt_prints_no_traceback(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-I", str(bundle), "alert", "check", "--url", url],
            env=bare(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(20)
        connection, _address = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            _stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130 and stderr == "consulops: interrupted\n"


def test_a_denied_request_of_a_newer_consul_is_one_sentence(secured: Datacenter, run: Run, tmp_path: Path) -> None:
    """The token's accessor ID, which it names, is no result of the command."""
    with Proxy(secured.url, secured.servers[0].address) as proxy:
        proxy.replay = lambda method, path: recorded(NEW, "snapshot.half_rights") if "/v1/snapshot" in path else None
        environment = {"CONSUL_HTTP_ADDR": proxy.url, "CONSUL_HTTP_TOKEN": secured.token or ""}
        done = run("snapshot", "save", tmp_path, environment=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "AccessorID" not in done.stderr
    assert "403 Permission denied." in done.stderr and done.stderr.count("acl") == 1
