# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runtime decides without Consul: configurations, secrets, exit codes, pauses, and what its endpoint shows."""

from __future__ import annotations

import json
import random
import re
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._cli import main as cli
from ansible_collections.consulops.failover.plugins.module_utils._config import credentials, json_file
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import checked
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.retry import BackOff
from ansible_collections.consulops.failover.plugins.module_utils._daemon import agent_config, run_loop, systemd
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_type import CycleResult
from ansible_collections.consulops.failover.plugins.module_utils._daemon.http_endpoint import answer
from ansible_collections.consulops.failover.plugins.module_utils._daemon.metrics import exposition
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status import AgentStatus, Status
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status_page import page
from ansible_collections.consulops.failover.plugins.module_utils._tasks.alert_check import ALERT_CHECK
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import REPLICATE
from ansible_collections.consulops.failover.plugins.module_utils._tasks.snapshot import SNAPSHOT
from hypothesis import given
from hypothesis import strategies as st

AGENT = {"agent": "demonstration"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPECS = {"agent": agent_config.SPEC, "snapshot": SNAPSHOT.spec, "replicate": REPLICATE.spec, "alert": ALERT_CHECK.spec}


def refused(given: t.Mapping[str, t.Any], environ: t.Mapping[str, str] | None = None) -> str:
    with pytest.raises(errors.InvalidOption) as caught:
        agent_config.make_config(given, environ or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "agent: this option is required."),
        ({"agent": "alert"}, "agent: 'alert' is none of demonstration."),
        ({**AGENT, "leese": {}}, "leese: there is no such option. Did you mean lease?"),
        ({**AGENT, "lease": {"tll": "20s"}}, "lease.tll: there is no such option. Did you mean ttl?"),
        ({**AGENT, "lease": {"ttl": 20}}, "lease.ttl: a text is needed, and 20 is not."),
        ({**AGENT, "lease": {"ttl": "19s"}}, "lease.ttl: 19s is not between 20 and 86400 seconds."),
        ({**AGENT, "lease": {"lock_delay": "61s"}}, "lease.lock_delay: 61s is not between 0 and 60 seconds."),
        ({**AGENT, "lease": {"key": "/a"}}, "lease.key: '/a' is not a key that can be locked: it begins or ends"),
        ({**AGENT, "lease": {"key": "a//b"}}, "lease.key: 'a//b' is not a key that can be locked"),
        ({**AGENT, "lease": {"key": ""}}, "lease.key: it is empty"),
        ({**AGENT, "lease": {"key": "\ud800"}}, "lease.key: "),
        ({**AGENT, "lease": {"lock_delay": "500ms"}}, "lease.lock_delay: 500ms must be whole seconds."),
        ({**AGENT, "service": {"name": "../../kv/x?"}}, "service.name: '../../kv/x?' must be letters"),
        ({**AGENT, "service": {"name": ""}}, "service.name: '' must be letters"),
        ({**AGENT, "endpoint": {"address": ""}}, "endpoint.address: '' is no IP address"),
        ({**AGENT, "endpoint": {"address": "not an ip"}}, "endpoint.address: 'not an ip' is no IP address"),
        ({**AGENT, "endpoint": {"port": 0}}, "endpoint.port: 0 is not a port."),
        ({**AGENT, "connection": {"url": "https://a:1", "ca_path": "/does/not/exist"}}, "connection: "),
        ({**AGENT, "lease": []}, "lease: an object is needed, and a list is not."),
        ({**AGENT, "endpoint": {"port": True}}, "endpoint.port: a whole number is needed, and true is not."),
        ({**AGENT, "endpoint": {"port": "9180"}}, "endpoint.port: a whole number is needed, and '9180' is not."),
        ({**AGENT, "endpoint": {"port": 65536}}, "endpoint.port: 65536 is not a port."),
        ({**AGENT, "service": {"tags": ["a", 5]}}, "service.tags[1]: a text is needed, and 5 is not."),
        ({**AGENT, "step_down_after_failures": 0}, "step_down_after_failures: 0 is less than 1."),
        ({**AGENT, "name": "My Agent"}, "name: 'My Agent' must be lower-case letters, digits and dashes, at most 48"),
        ({**AGENT, "connection": {"token": "s3cret"}}, "connection.token: secrets do not stand in this file. Name a"),
        ({**AGENT, "connection": {"url": "ftp://a"}}, "connection: "),
        ({**AGENT, "connection": {"token_file": "credential:t"}}, "connection.token_file: credential 't' is named"),
        ({**AGENT, "options": {"interval": "0s"}}, "options.interval"),
        (
            {**AGENT, "options": {"intervall": "1s"}},
            "options.intervall: there is no such option. Did you mean interval",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_path_of_the_key(given: dict[str, t.Any], sentence: str) -> None:
    said = refused(given)
    assert said.startswith(sentence) and "s3cret" not in said


def test_a_configuration_needs_only_its_kind() -> None:
    config = agent_config.make_config(AGENT, {})
    assert (config.name, config.lease.key) == ("demonstration", "consulops/agents/demonstration/lease")
    assert config.service.name == "consulops-demonstration" and config.listen.address == "127.0.0.1"
    # Consul lets a session live twice as long as it is told: the lease is what the user reads, not what Consul is told.
    assert config.lease.session_ttl_s * agent_config.TTL_MULTIPLIER == 20


@given(spec=st.sampled_from(sorted(SPECS)), data=st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_whatever_a_file_holds_is_taken_or_refused_by_a_path(spec: str, data: dict[str, t.Any]) -> None:
    try:
        found = checked(SPECS[spec], data)
    except errors.InvalidOption as error:
        assert ": " in str(error)
    else:
        assert set(found) == set(SPECS[spec])


@given(st.sampled_from(sorted(SPECS)), st.data())
def test_one_wrong_value_is_found_where_it_stands(spec: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SPECS[spec])))
    value = data.draw(JSON.filter(lambda one: one is not None))
    others = {key: "x" for key, rules in SPECS[spec].items() if rules.get("required") and key != name}
    try:
        checked(SPECS[spec], {**others, name: value})
    except errors.InvalidOption as error:
        assert re.match(r"[a-z_]+([.\[].*?)?: .+", str(error))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "line 1, column 1: Expecting value."),
        (b'{\n "a": 1,\n}', "line 3, column 1: Expecting property name enclosed in double quotes."),
        (b"[]", "the file must hold one JSON object."),
        (b'{"a": {"b": 1, "b": 2}}', "'b' is given twice in one object."),
        (b'{"a": "\xff"}', "this is not text in UTF-8."),
        (b"[" * 200000, "this is nested too deeply."),
        (b" " * (json_file.MAX_BYTES + 1), "this is longer than any configuration; is it the right file?"),
        (None, "No such file or directory, so the configuration cannot be read."),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "agent.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.InvalidOption) as caught:
        json_file.read_json(str(path))
    assert str(caught.value) == f"{path}: {sentence}"


def test_credentials_stand_in_for_files_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "http_auth").write_text("user:word\n")
    (tmp_path / "key").write_text("k")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "CONSUL_HTTP_TOKEN": "another"}
    found = credentials.surroundings(environ)
    assert found["CONSUL_HTTP_TOKEN_FILE"] == str(tmp_path / "token") and "CONSUL_HTTP_TOKEN" not in found
    assert found["CONSUL_HTTP_AUTH"] == "user:word"
    options = {"source": [{"client_key": "credential:key"}], "other": 5}
    assert credentials.located(options, environ) == {"source": [{"client_key": str(tmp_path / "key")}], "other": 5}
    for name in ("missing", "../token"):
        with pytest.raises(errors.InvalidOption, match=rf"source\[0\].client_key: the unit has no credential '{name}'"):
            credentials.located({"source": [{"client_key": f"credential:{name}"}]}, environ)


def test_credentials_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "http_auth").write_bytes(b"\xff")
    with pytest.raises(errors.InvalidOption, match="http_auth cannot be read: it is not text in UTF-8"):
        credentials.surroundings({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(errors.InvalidOption, match="cannot be read: "):
        credentials.surroundings({"CREDENTIALS_DIRECTORY": "/" + "x" * 300})  # stands in for a directory that denies it


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidOption("x"), 2),
        (errors.MissingLibrary("x", None), 2),
        (errors.GuardRefused("x"), 3),
        (errors.GateClosed("x"), 3),
        (errors.NotConverged("x"), 4),
        (errors.LocalFailure("x"), 1),
        (errors.Unreachable("x"), 1),
    ],
)
def test_exit_codes_say_how_it_ended(error: errors.Error, code: int) -> None:
    assert cli.exit_code(error) == code


@given(st.floats(0.01, 5), st.floats(5, 60), st.integers(0, 2**32))
def test_pauses_grow_to_the_cap_and_never_beyond(first_s: float, longest_s: float, seed: int) -> None:
    pauses = BackOff(first_s, longest_s, random.Random(seed))
    found = [pauses.next_s() for _number in range(20)]
    for number, pause_s in enumerate(found):
        whole = min(first_s * 2**number, longest_s)
        assert whole / 2 <= pause_s <= whole
    pauses.reset()
    assert pauses.next_s() <= first_s


NASTY = AgentStatus(
    'a"g\\e\nnt', "<script>alert(1)</script>", "n&1", started=0.0, state="active", lease_key='<b>"', problem="<i>no"
)


def test_nothing_that_is_shown_can_break_out_of_its_place() -> None:
    text = page(NASTY, now=100.0)
    assert "<script>" not in text and "<i>no" not in text and "<b>" not in text and "&lt;i&gt;no" in text
    for line in exposition(NASTY).splitlines():
        assert line.startswith("# ") or re.fullmatch(r'consulops_[a-z_]+\{(\w+="([^"\\]|\\.)*",?)+\} -?[0-9.e+]+', line)


@pytest.mark.parametrize("state", ["starting", "standby", "active", "failing", "stopping"])
@pytest.mark.parametrize("problem", ["", "no leader"])
def test_health_is_what_the_state_says(state: str, problem: str) -> None:
    facts = replace(NASTY, state=state, problem=problem)
    status, _type, text = answer("/healthz", facts)
    assert (status == 200) is (state in ("standby", "active") and not problem)
    assert text.startswith(state) and problem in text
    assert json.loads(answer("/status", facts)[2])["state"] == state
    assert f'state="{state}"}} 1' in answer("/metrics", facts)[2]


def test_a_status_tells_of_new_states_only_and_forgets_what_is_over() -> None:
    moments = iter(range(1000))
    told: list[str] = []
    status = Status("a", "n", "node", lambda facts: told.append(facts.sentence), lambda: float(next(moments)))
    reporter = status.configured("a", "n", "key")
    reporter.standby()
    reporter.standby()
    reporter.active(7, "s")
    reporter.worked(CycleResult(1.0, "wrote 1", {"entries": 1}), 0.1, 5.0)
    reporter.failed("no leader", holding=True)
    reporter.failed("no leader", holding=True)
    reporter.worked(CycleResult(1.0, "wrote 2", {"entries": 2}), 0.1, 6.0)
    reporter.failed("gone", holding=False)
    reporter.standby()
    assert told == ["standby", "active", "active: no leader", "active: wrote 2", "failing: gone", "standby"]
    facts = status.current
    assert (facts.failures, facts.failures_in_row, facts.cycles, facts.lease_terms, facts.fence) == (3, 0, 2, 1, 0)


def test_who_was_replaced_is_not_heard_any_more() -> None:
    status = Status("a", "n", "node", lambda _facts: None)
    old = status.configured("a", "n", "key")
    old.active(7, "s")
    new = status.configured("a", "n", "other")
    assert (status.current.state, status.current.fence) == ("starting", 0), "what the old one said does not count"
    new.active(9, "t")
    for late in (lambda: old.failed("timed out", holding=False), old.standby, lambda: old.active(7, "s")):
        late()
        assert (status.current.state, status.current.fence, status.current.problem) == ("active", 9, "")
    new.failed("no leader", holding=False)
    new.worked(CycleResult(1.0, "", {}), 0.1, 1.0)
    assert status.current.state == "active", "who works is active"


def test_who_sleeps_as_he_was_told_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval of an hour is no reason for systemd to start the agent again."""
    monkeypatch.setattr(run_loop, "SIGN_OF_LIFE_S", 0.01)
    sleeper = run_loop.Loop(agent_config.make_config({**AGENT}, {}), Status("a", "n", "node", lambda _facts: None))
    before = sleeper.last_sign_of_life
    sleeper._sleep(0.1)
    assert sleeper.last_sign_of_life - before >= 0.09
    sleeper._wake.set()
    started = time.monotonic()
    sleeper._sleep(60)
    assert time.monotonic() - started < 5, "what wakes it, wakes it at once"


def test_the_wall_clock_may_stand_anywhere() -> None:
    for now in (-1e9, 0.0, time.time() + 1e9):
        assert page(replace(NASTY, since=time.time(), last_success=time.time()), now=now)


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert systemd.notify({}, READY="1")
    assert not systemd.notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, READY="1")
    assert systemd.watchdog_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert systemd.watchdog_s({"WATCHDOG_USEC": "soon"}) is None
