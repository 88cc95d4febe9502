# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands ``consulops alert …``: with an agent that runs, with one that is dead, and with neither agent nor Consul."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting import from_consul
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.shared_state import Keys
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.silences import (
    Silence,
    Silences,
    make_silence,
)
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli

from tests.integration.conftest import MakeClient
from tests.lab.agents import PORT, AgentProcess, bare, run_command
from tests.lab.alerting import Instances, alerts, register_check, set_check, wait_for_alerts
from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.fill import new_token
from tests.lab.http_service import HttpService, Reply

Done = subprocess.CompletedProcess[str]
Run = t.Callable[..., Done]
TOKEN = "the-token-of-the-endpoint"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "endpoint.token"
    path.write_text(TOKEN, encoding="ascii")
    return path


@pytest.fixture
def run(datacenter: Datacenter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``consulops alert …`` in this process; Consul is the lab's unless ``at`` is given."""
    for name in [name for name in os.environ if name.startswith("CONSUL")]:
        monkeypatch.delenv(name)

    def command(*arguments: object, agent: AgentProcess | None = None, at: str = "", **environment: str) -> Done:
        words = ["alert", *map(str, arguments), *(["--agent", agent.url] if agent else [])]
        with monkeypatch.context() as patch:
            for name, value in {"CONSUL_HTTP_ADDR": at or datacenter.url, **environment}.items():
                patch.setenv(name, value)
            code = cli.main(words)
        captured = capsys.readouterr()
        return Done(words, code, captured.out, captured.err)

    return command


def as_json(done: Done) -> dict[str, t.Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, t.Any] = json.loads(done.stdout)
    return result


def start(instances: Instances, at: Datacenter, name: str, token_file: Path | None = None) -> AgentProcess:
    """Start an instance that is not registered, and wait until it is active."""
    endpoint = {"token_file": str(token_file)} if token_file else {}
    agent = instances.start(at, name=name, service={"register": False}, endpoint=endpoint)
    agent.wait("active")
    return agent


# ---------------------------------------------------------------------------------------------------------------
# With an agent


def test_an_agent_that_runs_lists_explains_and_silences(
    instances: Instances, own_lab: Lab, hook: HttpService, run: Run, token_file: Path
) -> None:
    datacenter = own_lab.datacenter("alone")  # in the shared one checks of other tests are critical
    node = datacenter.servers[0].name
    for service in ("live", "quiet"):
        register_check(datacenter, service)
    agent = start(instances, datacenter, "live", token_file)
    eventually(lambda: run("list", agent=agent).stdout == "no alerts\n", what="all is read, and well")

    set_check(datacenter, "live", "critical", "HTTP 503")
    wait_for_alerts(hook, "live", 1)
    listed = eventually(lambda: done if "hook" in (done := run("list", agent=agent)).stdout else None)
    assert listed.returncode == 0 and listed.stderr == ""
    row = next(line for line in listed.stdout.splitlines() if f"{node}/live/live-check" in line)
    assert row.startswith("critical  firing  20") and " ago " in row and listed.stdout.endswith("1 alert: 1 critical\n")
    found = as_json(run("list", "--json", agent=agent))
    assert found["source"] == "agent" and found["alerts"][0]["service"] == "live"

    explained = run("explain", f"{node}/live", agent=agent)
    assert explained.returncode == 0 and "critical check_status: " in explained.stdout
    assert "hook, by options.route" in explained.stdout and "told: firing at 20" in explained.stdout

    words = ("silence", "service=quiet", "--for", "2h", "--reason", "known")
    refused = run(*words, agent=agent)
    assert refused.returncode == 1 and "Give --agent-token-file, or --from-consul" in refused.stderr
    added = as_json(run(*words, "--json", agent=agent, CONSULOPS_AGENT_TOKEN_FILE=str(token_file)))
    assert added["source"] == "agent" and added["match"] == {"service": "quiet"}
    set_check(datacenter, "quiet", "critical")
    row = eventually(
        lambda: next((line for line in run("list", agent=agent).stdout.splitlines() if "/quiet/" in line), None)
    )
    assert f"silenced by {added['id']}" in row
    assert added["id"] in run("silences", agent=agent).stdout
    ended = run("unsilence", added["id"], "--agent-token-file", token_file, agent=agent)
    assert (ended.returncode, ended.stdout) == (0, f"ended silence {added['id']}\n")
    wait_for_alerts(hook, "quiet", 1)
    again = run("unsilence", added["id"], "--agent-token-file", token_file, agent=agent)
    assert again.returncode == 2 and f"The silence '{added['id']}' ended at" in again.stderr


def test_run_starts_the_agent_and_refuses_the_configuration_of_another_one(
    own_lab: Lab, bundle: Path, instances: Instances, datacenter: Datacenter, run: Run, tmp_path: Path
) -> None:
    address, mine, other = own_lab.address(), tmp_path / "mine.json", tmp_path / "other.json"
    config = instances.config(datacenter.url, name="run", service={"register": False})
    config["endpoint"] = {"address": address, "port": PORT}
    mine.write_text(json.dumps(config), encoding="utf-8")
    other.write_text('{"agent": "replication"}', encoding="utf-8")
    assert as_json(run("check-config", mine, "--json"))["agent"] == "alerting"
    for arguments in (("check-config", other), ("run", "--config", other)):
        refused = run(*arguments)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert "this file configures the agent replication, not alerting" in refused.stderr
    words = [sys.executable, "-I", str(bundle), "alert", "run", "--config", str(mine)]
    process = subprocess.Popen(words, env=bare({"STATE_DIRECTORY": str(tmp_path)}), stderr=subprocess.DEVNULL)
    try:
        url = f"http://{address}:{PORT}/status"
        eventually(
            lambda: requests.get(url, timeout=5).json()["agent"] == "alerting", what="the agent serves its status"
        )
    finally:
        process.terminate()
    assert process.wait(10) == 0


# ---------------------------------------------------------------------------------------------------------------
# With a dead agent


def test_what_receivers_were_told_is_read_from_consul_when_the_agent_is_dead(
    instances: Instances, datacenter: Datacenter, hook: HttpService, run: Run
) -> None:
    node = datacenter.servers[0].name
    register_check(datacenter, "orphan")
    agent = start(instances, datacenter, "dead")
    set_check(datacenter, "orphan", "critical", "HTTP 503")
    wait_for_alerts(hook, "orphan", 1)
    eventually(lambda: datacenter.get("/v1/kv/consulops/agents/dead/notes"), what="notes are shared")
    agent.stop()

    listed = run("list", "--name", "dead", agent=agent)
    assert listed.returncode == 0, listed.stderr
    row = next(line for line in listed.stdout.splitlines() if f"{node}/orphan/orphan-check" in line)
    assert row.startswith("critical  firing  20") and "  hook " in row and " ago " in row
    assert (
        "does not answer (Connection refused). Shown is what receivers were told, not what fails now." in listed.stderr
    )
    assert "The last message that Consul knows of is " in listed.stderr
    found = as_json(run("list", "--name", "dead", "--from-consul", "--json"))
    told = {alert["service"]: alert["told"] for alert in found["alerts"]}["orphan"]
    assert (told[0]["receiver"], told[0]["status"]) == ("hook", "firing")

    missing = run("explain", f"{node}/orphan", "--name", "dead", agent=agent)
    assert missing.returncode == 1 and "Give --config FILE to read Consul once instead." in missing.stderr
    explained = run("explain", f"{node}/orphan/orphan-check", "--config", agent.path, agent=agent)
    assert explained.returncode == 0, explained.stderr
    assert "critical check_status: " in explained.stdout and "state    firing since 20" in explained.stdout
    assert "told: firing at 20" in explained.stdout
    for subject in ("nowhere", f"{node}/nothing"):
        unknown = run("explain", subject, "--config", agent.path, "--from-consul").stdout
        assert f"{subject} in {datacenter.name}: Consul shows no such node or service" in unknown
        assert "no incident is known; a failure would be:" in unknown and "would be told" in unknown
    refused = run("explain", node, "--config", agent.path, "--from-consul", "--datacenter", "elsewhere")
    assert refused.returncode == 2 and "does not watch the datacenter elsewhere" in refused.stderr


def test_an_agent_takes_over_the_silences_that_were_written_to_consul(
    instances: Instances, datacenter: Datacenter, hook: HttpService, run: Run, tmp_path: Path
) -> None:
    for service in ("hushed", "loud"):
        register_check(datacenter, service)
    words = ("silence", "service=hushed", "severity=critical", "--for", "2h", "--reason", "known")
    added = run(*words, "--author", "ann", "--name", "heir", "--agent", "http://127.0.0.1:1")
    assert added.returncode == 0 and "written to Consul instead" in added.stderr
    identity = added.stdout.split()[2]
    assert "service=hushed severity=critical" in added.stdout and "ann" in added.stdout

    agent = start(instances, datacenter, "heir")
    for service in ("hushed", "loud"):
        set_check(datacenter, service, "critical")
    wait_for_alerts(hook, "loud", 1)
    listed = run("silences", "--from-consul", "--name", "heir").stdout
    assert (
        identity in listed and ("1h 59m" in listed or "2h" in listed) and "service=hushed severity=critical" in listed
    )
    ended = run("unsilence", identity, "--from-consul", "--name", "heir")
    assert (ended.returncode, ended.stdout) == (0, f"ended silence {identity}\n")
    wait_for_alerts(hook, "hushed", 1)
    assert alerts(hook, "hushed") == [("firing", "critical")]
    assert run("silences", "--from-consul", "--name", "heir").stdout == "no silences\n"
    assert identity in run("silences", "--from-consul", "--expired", "--name", "heir").stdout
    for wrong in (identity, "unknown"):
        assert run("unsilence", wrong, "--from-consul", "--name", "heir").returncode == 2
    assert agent.process.poll() is None


def test_silences_that_others_write_meanwhile_are_kept(datacenter: Datacenter, make_client: MakeClient) -> None:
    client, keys = make_client(datacenter), Keys("raced")

    def silence(name: str) -> Silence:
        options = {"id": name, "match": {"node": name}, "end": "2100-01-01T00:00:00Z", "author": "a", "reason": "r"}
        return make_silence(options, 1.0)

    def add(name: str, silences: Silences) -> Silence:
        silences.add(silence(name))
        return silence(name)

    others = iter(["second", "third"])

    def add_first(silences: Silences) -> Silence:
        other = next(others, None)
        if other is not None:
            from_consul.change_silences(client, keys, lambda found: add(other, found))
        return add("first", silences)

    from_consul.change_silences(client, keys, add_first)
    kept = from_consul.read_silences(from_consul.read_state(client, keys), keys)
    assert set(kept.added) == {"first", "second", "third"}


def test_a_token_that_may_not_write_silences_is_told_which_permission_is_missing(
    secured: Datacenter, run: Run, tmp_path: Path
) -> None:
    token = new_token(secured, 'key_prefix "consulops/" { policy = "read" }')
    path = tmp_path / "consul.token"
    path.write_text(token, encoding="ascii")
    words = ("--from-consul", "--token-file", path)
    enough = new_token(
        secured,
        'key_prefix "consulops/agents/narrow/" { policy = "read" } key "consulops/agents/narrow/silences" { policy = "write" }',
        "enough",
    )
    allowed = ("--from-consul", "--name", "narrow")
    added = run("silence", "node=a", "--for", "1h", "--reason", "r", *allowed, at=secured.url, CONSUL_HTTP_TOKEN=enough)
    assert (
        added.returncode == 0 and "node=a" in run("silences", *allowed, at=secured.url, CONSUL_HTTP_TOKEN=enough).stdout
    )
    denied = run("silence", "node=a", "--for", "1h", "--reason", "r", *words, at=secured.url)
    assert denied.returncode == 1 and "Permission denied" in denied.stderr and denied.stderr.count("\n") == 1
    nothing = run("list", *words, at=secured.url)
    assert (
        nothing.returncode == 1
        and "has nothing of an alerting agent below consulops/agents/alerting/" in nothing.stderr
    )
    blind = run("list", "--from-consul", at=secured.url)
    assert blind.returncode == 1 and "Permission denied" in blind.stderr and token not in nothing.stderr + blind.stderr


# ---------------------------------------------------------------------------------------------------------------
# With neither


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("silences",),
        ("silence", "node=a", "--for", "1h", "--reason", "r"),
        ("unsilence", "abc"),
        ("explain", "node"),
    ],
)
def test_without_agent_and_consul_one_sentence_says_that_neither_answers(
    own_lab: Lab, run: Run, words: tuple[str, ...]
) -> None:
    nobody = own_lab.address()
    done = run(*words, "--agent", f"http://{nobody}:9000", at=f"http://{nobody}:8500")
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1
    assert f"The agent at http://{nobody}:9000 does not answer (Connection refused)." in done.stderr
    assert words[
        0
    ] == "explain" or f"Consul cannot stand in: GET /v1/kv/consulops/agents/alerting/ of http://{nobody}:8500" in (
        done.stderr
    )


# ---------------------------------------------------------------------------------------------------------------
# Receivers


def test_a_test_notification_goes_through_the_real_receiver_and_its_answer_is_shown(
    instances: Instances, bundle: Path, run: Run, hook: HttpService, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-s3cret-s3cret", encoding="ascii")
    config = instances.config("http://127.0.0.1:1")
    config["options"]["receivers"]["hook"]["bearer_token_file"] = str(secret)
    config["options"]["receivers"]["shown"] = {"type": "prometheus"}
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(config), encoding="utf-8")

    hook.reset(Reply(202, b"queued for s3cret-s3cret-s3cret"))
    sent = run_command(bundle, "alert", "test-receiver", "--config", path, "hook")
    assert sent.returncode == 0 and "hook (webhook) took the test notification within " in sent.stdout
    assert sent.stdout.endswith(": 202 queued for …\n")
    message = hook.only.json
    assert message["kind"] == "firing" and "TEST of the receiver hook" in message["text"]
    assert hook.only.headers["Authorization"] == "Bearer s3cret-s3cret-s3cret"

    hook.reset(Reply(200))
    ended = as_json(run("test-receiver", "--config", path, "hook", "--resolved", "--json"))
    assert (ended["status"], ended["answer"]) == ("resolved", "200 ok")
    assert hook.only.json["kind"] == "resolved"
    assert hook.only.json["alerts"][0]["incident"] == message["alerts"][0]["incident"]

    hook.reset(Reply(403, b"s3cret-s3cret-s3cret is wrong"))
    failed = run("test-receiver", "--config", path, "hook")
    assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.count("\n") == 1
    assert "The receiver hook did not take the test notification: " in failed.stderr and "403" in failed.stderr
    assert "s3cret" not in sent.stdout + sent.stderr + failed.stderr
    for name, problem in (("nobody", "there is no receiver 'nobody'"), ("shown", "is sent nothing")):
        refused = run("test-receiver", "--config", path, name)
        assert refused.returncode == 2 and problem in refused.stderr
    secret.unlink()
    unreadable = run("test-receiver", "--config", path, "hook")
    assert unreadable.returncode == 2 and f"{path}: options.receivers.hook.bearer_token_file" in unreadable.stderr
