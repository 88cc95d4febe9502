# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a configuration of consul-replicate: nothing is dropped silently, no secret gets out."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.replication.import_consul_replicate import (
    ImportedReplication,
    import_documents,
)
from ansible_collections.consulops.failover.plugins.module_utils._config import _libraries
from ansible_collections.consulops.failover.plugins.module_utils._config.hcl_file import read_hcl_or_json
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, MissingLibrary
from ansible_collections.consulops.failover.plugins.module_utils._replication.prefix_options import make_mappings
from hypothesis import given
from hypothesis import strategies as st

SECRET = "5ec2e7"
DIRECTORY = "/etc/consulops/secrets"
# Every option that consul-replicate 0.4 reads.
WHOLE = f"""
consul {{
  address = "consul.example.com:8501"
  token   = "{SECRET}-token"
  auth {{ enabled = true username = "operator" password = "{SECRET}-pass\\"word" }}
  retry {{
    enabled     = true
    attempts    = 12
    backoff     = "250ms"
    max_backoff = "1m"
  }}
  ssl {{
    enabled     = true
    verify      = false
    cert        = "/etc/consul/cert.pem"
    key         = "/etc/consul/key.pem"
    ca_cert     = "/etc/consul/ca.pem"
    ca_path     = "/etc/consul/ca"
    server_name = "server.dc1.consul"
  }}
  transport {{
    dial_keep_alive         = "30s"
    dial_timeout            = "30s"
    disable_keep_alives     = false
    idle_conn_timeout       = "90s"
    max_idle_conns          = 100
    max_idle_conns_per_host = 3
    tls_handshake_timeout   = "10s"
  }}
}}
exclude {{ source = "app/secret/" }}
exclude {{ source = "app/5" }}
exclude {{ source = "other/" }}
prefix {{
  source      = "app/"
  datacenter  = "dc1"
  destination = "mirror/app/"
}}
prefix {{ source = "global@dc2:default" }}
kill_signal   = "SIGINT"
reload_signal = "SIGHUP"
log_level     = "warn"
max_stale     = "10m"
pid_file      = "/run/consul-replicate.pid"
status_dir    = "service/consul-replicate/statuses"
syslog {{
  enabled  = true
  facility = "LOCAL5"
}}
wait {{
  min = "5s"
  max = "10s"
}}
"""


def read(tmp_path: Path, text: str, name: str = "config.hcl") -> dict[str, t.Any]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_hcl_or_json(str(path))


def imported(*documents: t.Mapping[str, t.Any]) -> ImportedReplication:
    return import_documents(documents, DIRECTORY)


def leaves(value: t.Any, place: str = "") -> t.Iterator[str]:
    """Yield the place of every value of a document, without prefixes and excludes."""
    for name, item in value.items():
        where = f"{place}.{name}".lstrip(".")
        if where in ("prefix", "exclude"):
            continue
        blocks = item if isinstance(item, list) else [item]
        for block in blocks:
            yield from leaves(block, where) if isinstance(block, dict) else [where]


def test_every_option_is_translated_or_noted_and_no_secret_gets_out(tmp_path: Path) -> None:
    document = read(tmp_path, WHOLE)
    found = imported(document)
    assert found.configuration == {
        "agent": "replication",
        "connection": {
            "url": "https://consul.example.com:8501",
            "ca_path": "/etc/consul/ca.pem",
            "client_cert": "/etc/consul/cert.pem",
            "client_key": "/etc/consul/key.pem",
            "tls_server_name": "server.dc1.consul",
            "validate_certs": False,
            "token_file": f"{DIRECTORY}/token",
        },
        "back_off": {"first": "250ms", "longest": "1m"},
        "log_level": "warning",
        "options": {
            "sets": {
                "dc1": {
                    "source": {"datacenter": "dc1"},
                    "prefixes": [{"source": "app/", "destination": "mirror/app/", "exclude": ["secret/", "5*"]}],
                    "adopt": True,
                    "consistency": "stale",
                    "max_stale": "10m",
                    "wait": "5s:10s",
                },
                "dc2": {
                    "source": {"datacenter": "dc2"},
                    "prefixes": [{"source": "global/", "destination": "default/"}],
                    "adopt": True,
                    "consistency": "stale",
                    "max_stale": "10m",
                    "wait": "5s:10s",
                },
            }
        },
    }
    assert found.secrets == {"token": f"{SECRET}-token", "http_auth": f'operator:{SECRET}-pass"word'}
    said = "\n".join(map(str, found.notes))
    assert SECRET not in json.dumps(found.configuration) + said
    noted = {key for note in found.notes for key in note.keys}
    translated = {
        *("consul.address", "consul.token", "consul.auth.enabled", "max_stale", "log_level", "wait.min", "wait.max"),
        *("consul.retry.backoff", "consul.retry.max_backoff"),
        *(f"consul.ssl.{name}" for name in ("enabled", "verify", "cert", "key", "ca_cert", "server_name")),
    }
    assert set(leaves(document)) <= noted | translated
    assert "prefix[1]" in noted and "'global' also meant keys that only begin with it" in said
    assert "problem: exclude[2]: no prefix has such keys" in said


def test_hcl_and_json_of_one_configuration_are_the_same(tmp_path: Path) -> None:
    document = read(tmp_path, WHOLE)
    assert imported(read(tmp_path, json.dumps(document), "config.json")) == imported(document)


def test_lists_of_several_files_add_up_and_later_values_win(tmp_path: Path) -> None:
    first = read(tmp_path, 'prefix { source = "a/@dc1" }\nmax_stale = "1s"\nconsul { address = "one:1" }\n')
    second = read(tmp_path, 'prefix = ["b/@dc1"]\nmax_stale = "5s"\nconsul = { address = "two:2" }\n')
    found = imported(first, second).configuration
    assert found["connection"] == {"url": "two:2"}
    assert found["options"]["sets"]["dc1"]["prefixes"] == [{"source": "a/"}, {"source": "b/"}]
    assert found["options"]["sets"]["dc1"]["max_stale"] == "5s"


NAMES = st.text(alphabet="a5/*?[]", max_size=8)


@given(exclude=NAMES, key=NAMES)
def test_an_exclude_leaves_out_the_same_keys_as_before(exclude: str, key: str) -> None:
    """consul-replicate leaves out every key at the source that begins with the text."""
    exclude, key = f"app/x{exclude}", f"app/{key}"
    found = imported({"prefix": ["app/@dc1"], "exclude": [exclude]})
    (mapping,) = make_mappings(found.configuration["options"]["sets"]["dc1"]["prefixes"], "owned")
    assert mapping.includes(key) == (not key.startswith(exclude))


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"prefix": [{"source": "app/"}]}, "there is no prefix that can be replicated"),
        ({"prefix": [3, {"datacenter": "dc1"}, ["a@dc1"]]}, "there is no prefix that can be replicated"),
        ({}, "there is no prefix that can be replicated"),
    ],
)
def test_without_a_prefix_that_can_be_used_there_is_nothing_to_import(
    document: dict[str, t.Any], sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        imported(document)


WRONG: t.Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = ("consul", "exclude", "max_stale", "wait", "syslog", "log_level", "auth", "ssl", "retry", "token", "other")


@given(document=st.dictionaries(st.sampled_from(OPTIONS), WRONG))
def test_values_of_any_type_are_noted_and_end_nothing(document: dict[str, t.Any]) -> None:
    found = imported({**document, "prefix": ["app/@dc1"]})
    assert found.configuration["options"]["sets"]["dc1"]["prefixes"][0]["source"] == "app/"


def test_old_and_unknown_options_are_noted() -> None:
    found = imported({"prefix": "app/@dc1", "token": SECRET, "path": "x", "consul": {"colour": 1}, "log_level": "loud"})
    said = "\n".join(map(str, found.notes))
    assert found.secrets == {"token": SECRET}
    assert "changed: token: it belongs into consul since version 0.3" in said
    assert "consul-replicate has no such option, so it is not taken over." in said
    assert {"path", "consul.colour"} <= {key for note in found.notes for key in note.keys}
    assert "problem: log_level: it is none of trace, debug, info, warn, err" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("consul {\n  address = \n}\n", "line 2, column 13: this is not HCL that can be read"),
        ('max_stale = "${var.x}"\n', "is computed: write the value itself"),
        ("max_stale = other.value\n", "'${other.value}' is computed"),
        ('{"prefix": [}', "line 1, column 13"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidOption) as failed:
        read(tmp_path, text)
    assert sentence in str(failed.value) and str(failed.value).startswith(str(tmp_path))


def test_without_the_library_hcl_is_refused_by_its_name_and_json_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_libraries, "HCL2_IMPORT_ERROR", "No module named hcl2")
    assert read(tmp_path, '{"max_stale": "2s"}') == {"max_stale": "2s"}
    with pytest.raises(MissingLibrary, match="python-hcl2"):
        read(tmp_path, 'max_stale = "2s"\n')
