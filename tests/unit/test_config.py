# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files: JSON, validation, credentials, and the configuration of an agent."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._config import credentials, json_file
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors
from ansible_collections.consulops.failover.plugins.module_utils._daemon import agent_config
from ansible_collections.consulops.failover.plugins.module_utils._tasks.alert_check import ALERT_CHECK
from ansible_collections.consulops.failover.plugins.module_utils._tasks.replicate import REPLICATE
from ansible_collections.consulops.failover.plugins.module_utils._tasks.snapshot import SNAPSHOT
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.probe_agent import PROBE

RECEIVERS = {"a": {"type": "file", "path": "/dev/null"}}
AGENT = {"agent": "alerting", "options": {"receivers": RECEIVERS, "route": {"receiver": "a"}}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPECS = {"agent": agent_config.SPEC, "snapshot": SNAPSHOT.spec, "replicate": REPLICATE.spec, "alert": ALERT_CHECK.spec}


def refusal(given: t.Mapping[str, t.Any], environ: t.Mapping[str, str] | None = None) -> str:
    with pytest.raises(errors.InvalidOption) as caught:
        agent_config.make_config(given, environ or {}, AGENT_TYPES)
    return str(caught.value)


def test_an_agent_may_have_a_port_of_its_own_until_the_configuration_names_one() -> None:
    types = {**AGENT_TYPES, "probe": PROBE}
    for options, port in (({"agent": "probe"}, 9180), (AGENT, 9000), ({**AGENT, "endpoint": {"port": 9180}}, 9180)):
        assert agent_config.make_config(options, {}, types).listen.port == port


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "agent: this option is required."),
        ({"agent": "alert"}, "agent: 'alert' is not one of alerting, replication, snapshot."),
        ({**AGENT, "leese": {}}, "leese: unknown option. Did you mean lease?"),
        ({**AGENT, "lease": {"tll": "20s"}}, "lease.tll: unknown option. Did you mean ttl?"),
        ({**AGENT, "lease": {"ttl": 20}}, "lease.ttl: expected a string, not 20."),
        ({**AGENT, "lease": {"ttl": "19s"}}, "lease.ttl: 19s is not between 20 and 86400 seconds."),
        ({**AGENT, "lease": {"lock_delay": "61s"}}, "lease.lock_delay: 61s is not between 0 and 60 seconds."),
        ({**AGENT, "lease": {"key": "/a"}}, "lease.key: '/a' cannot be locked: it begins or ends"),
        ({**AGENT, "lease": {"key": "a//b"}}, "lease.key: 'a//b' cannot be locked"),
        ({**AGENT, "lease": {"key": ""}}, "lease.key: the key is empty"),
        ({**AGENT, "lease": {"key": "\ud800"}}, "lease.key: "),
        ({**AGENT, "lease": {"lock_delay": "500ms"}}, "lease.lock_delay: 500ms is not a whole number of seconds."),
        ({**AGENT, "service": {"name": "../../kv/x?"}}, "service.name: '../../kv/x?' must consist of letters"),
        ({**AGENT, "service": {"name": ""}}, "service.name: '' must consist of letters"),
        ({**AGENT, "endpoint": {"address": ""}}, "endpoint.address: '' is not an IP address"),
        ({**AGENT, "endpoint": {"address": "not an ip"}}, "endpoint.address: 'not an ip' is not an IP address"),
        ({**AGENT, "endpoint": {"port": 0}}, "endpoint.port: 0 is not a port number"),
        ({**AGENT, "connection": {"url": "https://a:1", "ca_path": "/does/not/exist"}}, "connection: "),
        ({**AGENT, "lease": []}, "lease: expected an object, not a list."),
        ({**AGENT, "endpoint": {"port": True}}, "endpoint.port: expected an integer, not true."),
        ({**AGENT, "endpoint": {"port": "9180"}}, "endpoint.port: expected an integer, not '9180'."),
        ({**AGENT, "endpoint": {"port": 65536}}, "endpoint.port: 65536 is not a port number"),
        ({**AGENT, "service": {"tags": ["a", 5]}}, "service.tags[1]: expected a string, not 5."),
        ({**AGENT, "step_down_after_failures": 0}, "step_down_after_failures: 0 is less than 1."),
        (
            {**AGENT, "name": "My Agent"},
            "name: 'My Agent' must consist of lower-case letters, digits and dashes, at most 48",
        ),
        (
            {**AGENT, "connection": {"token": "s3cret"}},
            "connection.token: secrets are not allowed in this file. Name a",
        ),
        (
            {**AGENT, "endpoint": {"address": "0.0.0.0"}},
            "endpoint.address: 0.0.0.0 can be reached from other hosts: set endpoint.tls_cert",
        ),
        (
            {**AGENT, "endpoint": {"address": "::", "plain_http": True}},
            "endpoint.address: :: can be reached from other hosts: set endpoint.token_file",
        ),
        ({**AGENT, "endpoint": {"token_file": "/does/not/exist"}}, "endpoint.token_file: /does/not/exist cannot be"),
        ({**AGENT, "endpoint": {"token_file": "/dev/null"}}, "endpoint.token_file: /dev/null must hold one word"),
        ({**AGENT, "endpoint": {"tls_cert": "/dev/null"}}, "endpoint.tls_cert: /dev/null cannot be used"),
        ({**AGENT, "endpoint": {"tls_key": "/dev/null"}}, "endpoint.tls_key: a key without endpoint.tls_cert"),
        ({**AGENT, "connection": {"url": "ftp://a"}}, "connection: "),
        (
            {**AGENT, "connection": {"token_file": "credential:t"}},
            "connection.token_file: the credential 't' is not available",
        ),
        ({"agent": "alerting"}, "options.receivers: this option is required."),
        ({"agent": "alerting", "options": {"recievers": {}}}, "options.recievers: unknown option. Did you mean rec"),
    ],
)
def test_an_invalid_configuration_is_refused_with_the_path_of_the_key(given: dict[str, t.Any], sentence: str) -> None:
    message = refusal(given)
    assert message.startswith(sentence) and "s3cret" not in message


def test_a_configuration_needs_only_the_agent_type_and_its_options() -> None:
    config = agent_config.make_config(AGENT, {}, AGENT_TYPES)
    assert (config.name, config.lease.key) == ("alerting", "consulops/agents/alerting/lease")
    assert config.service.name == "consulops-alerting" and config.listen.address == "127.0.0.1"
    # Consul ends a session after up to twice its TTL, and lease.ttl is the time after which the lease is free.
    assert config.lease.session_ttl_s * agent_config.SESSION_TTL_MULTIPLIER == 20


def test_an_endpoint_beyond_loopback_needs_both_waivers_or_tls_and_a_token() -> None:
    waived = {"address": "0.0.0.0", "anonymous_reads": True, "plain_http": True}
    assert not agent_config.make_config({**AGENT, "endpoint": waived}, {}, AGENT_TYPES).access.reads_need_token
    assert not agent_config.make_config(AGENT, {}, AGENT_TYPES).access.reads_need_token
    off = {"address": "0.0.0.0", "enabled": False}
    assert agent_config.make_config({**AGENT, "endpoint": off}, {}, AGENT_TYPES).access.reads_need_token


def test_a_token_for_reading_is_enough_beyond_loopback_and_is_not_the_other_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n", encoding="ascii")
    endpoint = {"address": "0.0.0.0", "plain_http": True, "read_token_file": str(tmp_path / "token")}
    access = agent_config.make_config({**AGENT, "endpoint": endpoint}, {}, AGENT_TYPES).access
    assert (access.token, access.read_token, access.reads_need_token) == ("", "0123456789abcdef", True)
    same = {**endpoint, "token_file": str(tmp_path / "token")}
    assert refusal({**AGENT, "endpoint": same}).startswith("endpoint.read_token_file: it holds the token of endpoint.")
    missing = {**endpoint, "read_token_file": "/does/not/exist"}
    assert refusal({**AGENT, "endpoint": missing}).startswith("endpoint.read_token_file: /does/not/exist cannot be")


def test_the_token_of_the_endpoint_never_shows(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n", encoding="ascii")
    endpoint = {"token_file": str(tmp_path / "token")}
    config = agent_config.make_config({**AGENT, "endpoint": endpoint}, {}, AGENT_TYPES)
    assert config.access.token == "0123456789abcdef" and config.access.token not in repr(config)


def test_a_name_that_is_not_printable_leaves_the_message_one_line() -> None:
    with pytest.raises(errors.InvalidOption) as caught:
        validated(SPECS["agent"], {"a\nb": 1})
    assert str(caught.value).startswith("'a\\nb': unknown option.")


@given(spec=st.sampled_from(sorted(SPECS)), data=st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_any_content_of_a_file_is_accepted_or_refused_with_a_path(spec: str, data: dict[str, t.Any]) -> None:
    try:
        options = validated(SPECS[spec], data)
    except errors.InvalidOption as error:
        assert ": " in str(error)
    else:
        assert set(options) == set(SPECS[spec])


@given(st.sampled_from(sorted(SPECS)), st.data())
def test_an_invalid_value_is_reported_with_its_path(spec: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SPECS[spec])))
    value = data.draw(JSON.filter(lambda one: one is not None))
    others = {key: "x" for key, rules in SPECS[spec].items() if rules.get("required") and key != name}
    try:
        validated(SPECS[spec], {**others, name: value})
    except errors.InvalidOption as error:
        assert re.match(r"[a-z_]+([.\[].*?)?: .+", str(error))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "line 1, column 1: Expecting value."),
        (b'{\n "a": 1,\n}', "line 3, column 1: Expecting property name enclosed in double quotes."),
        (b"[]", "the file must hold one JSON object."),
        (b'{"a": {"b": 1, "b": 2}}', "'b' appears twice in one object."),
        (b'{"a": "\xff"}', "the file is not UTF-8 text."),
        (b"[" * 200000, "the JSON is nested too deeply."),
        (b" " * (json_file.MAX_BYTES + 1), "the file is larger than 1,048,576 bytes, so it is not a configuration."),
        (None, "the configuration cannot be read: No such file or directory."),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "agent.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.InvalidOption) as caught:
        json_file.read_json(str(path))
    assert str(caught.value) == f"{path}: {sentence}"


def test_credentials_replace_files_and_environment_variables(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "http_auth").write_text("user:word\n")
    (tmp_path / "key").write_text("k")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "CONSUL_HTTP_TOKEN": "another"}
    found = credentials.with_credentials(environ)
    assert found["CONSUL_HTTP_TOKEN_FILE"] == str(tmp_path / "token") and "CONSUL_HTTP_TOKEN" not in found
    assert found["CONSUL_HTTP_AUTH"] == "user:word"
    options = {"source": [{"client_key": "credential:key"}], "other": 5}
    assert credentials.resolve_credentials(options, environ) == {
        "source": [{"client_key": str(tmp_path / "key")}],
        "other": 5,
    }
    for name in ("missing", "../token"):
        with pytest.raises(errors.InvalidOption, match=rf"source\[0\].client_key: the unit has no credential '{name}'"):
            credentials.resolve_credentials({"source": [{"client_key": f"credential:{name}"}]}, environ)


def test_a_credential_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "http_auth").write_bytes(b"\xff")
    with pytest.raises(errors.InvalidOption, match="http_auth cannot be read: it is not text in UTF-8"):
        credentials.with_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(errors.InvalidOption, match="cannot be read: "):
        credentials.with_credentials(
            {"CREDENTIALS_DIRECTORY": "/" + "x" * 300}
        )  # a path that stat() refuses, like a directory without permission
