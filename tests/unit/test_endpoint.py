# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every connection option, the variable that it falls back to, and which of the two wins."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.endpoint import Endpoint, resolve
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("url", "base", "socket_path"),
    [
        ("127.0.0.1:8500", "http://127.0.0.1:8500", None),
        ("http://consul.example.com", "http://consul.example.com", None),
        ("https://consul.example.com:8501/", "https://consul.example.com:8501", None),
        ("https://[::1]:8501", "https://[::1]:8501", None),
        ("[::1]:8500", "http://[::1]:8500", None),
        ("https://gateway/consul/", "https://gateway/consul", None),
        ("unix:///run/consul.sock", "http://localhost", "/run/consul.sock"),
        ("HTTP://consul.example.com:8500", "http://consul.example.com:8500", None),
        ("Https://Consul.Example.com:8501", "https://consul.example.com:8501", None),
        ("Unix:///run/Consul.sock", "http://localhost", "/run/Consul.sock"),
    ],
)
def test_addresses_are_read_as_consuls_own_tools_read_them(url: str, base: str, socket_path: str | None) -> None:
    found = resolve({"url": url}, {})
    assert (found.base_url, found.socket_path) == (base, socket_path)
    assert resolve({}, {"CONSUL_HTTP_ADDR": url}) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "http://",
        "unix://relative",
        "http://x:port",
        "http://x y",
        "http://x?a=b",
        "://",
        "http://x:99999",
    ],
)
def test_an_invalid_address_is_refused_with_the_valid_forms(url: str) -> None:
    with pytest.raises(InvalidOption, match="write "):
        resolve({"url": url}, {})


def test_a_password_in_the_address_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidOption) as caught:
        resolve({"url": "https://me:hunter2@consul:8501"}, {})
    assert "http_auth" in str(caught.value) and "hunter2" not in str(caught.value)


def test_without_options_the_local_agent_is_used() -> None:
    found = resolve({}, {})
    assert found == Endpoint("http://127.0.0.1:8500", "http://127.0.0.1:8500")
    assert found.validate_certs and found.timeout_s == 10


ENVIRONMENT = {
    "CONSUL_HTTP_ADDR": "https://env:8501",
    "CONSUL_HTTP_TOKEN": "env-token",
    "CONSUL_HTTP_AUTH": "env:password",
    "CONSUL_CACERT": "/env/ca",
    "CONSUL_CLIENT_CERT": "/env/cert",
    "CONSUL_CLIENT_KEY": "/env/key",
    "CONSUL_TLS_SERVER_NAME": "env-name",
    "CONSUL_HTTP_SSL_VERIFY": "false",
    "CONSUL_NAMESPACE": "env-ns",
    "CONSUL_PARTITION": "env-partition",
}
FROM_ENVIRONMENT = {
    "base_url": "https://env:8501",
    "token": "env-token",
    "http_auth": ("env", "password"),
    "ca_path": "/env/ca",
    "client_cert": "/env/cert",
    "client_key": "/env/key",
    "tls_server_name": "env-name",
    "validate_certs": False,
    "namespace": "env-ns",
    "partition": "env-partition",
}
GIVEN: dict[str, tuple[t.Any, t.Any]] = {
    "url": ("http://given:1", "http://given:1"),
    "token": ("given-token", "given-token"),
    "http_auth": ("given:pass:word", ("given", "pass:word")),
    "ca_path": ("/given/ca", "/given/ca"),
    "client_cert": ("/given/cert", "/given/cert"),
    "tls_server_name": ("given-name", "given-name"),
    "validate_certs": (True, True),
    "namespace": ("given-ns", "given-ns"),
    "partition": ("given-partition", "given-partition"),
}


def test_every_option_falls_back_to_its_variable() -> None:
    found = resolve({}, ENVIRONMENT)
    assert {name: getattr(found, name) for name in FROM_ENVIRONMENT} == FROM_ENVIRONMENT
    assert resolve({}, {"CONSUL_CAPATH": "/env/cas"}).ca_path == "/env/cas"


@given(names=st.sets(st.sampled_from(sorted(GIVEN))))
def test_an_option_beats_its_variable_and_no_other(names: set[str]) -> None:
    found = resolve({name: GIVEN[name][0] for name in names}, ENVIRONMENT)
    for name in FROM_ENVIRONMENT:
        option = "url" if name == "base_url" else name
        if option in names:
            assert getattr(found, name) == GIVEN[option][1]
        elif name == "client_key" and "client_cert" in names:
            assert found.client_key is None  # the environment's key belongs to another certificate
        else:
            assert getattr(found, name) == FROM_ENVIRONMENT[name]


def test_consul_http_ssl_applies_only_to_an_address_without_a_scheme_from_the_environment() -> None:
    assert resolve({}, {"CONSUL_HTTP_ADDR": "h:1", "CONSUL_HTTP_SSL": "true"}).base_url == "https://h:1"
    assert resolve({}, {"CONSUL_HTTP_ADDR": "http://h:1", "CONSUL_HTTP_SSL": "true"}).base_url == "http://h:1"
    assert resolve({"url": "h:1"}, {"CONSUL_HTTP_SSL": "true"}).base_url == "http://h:1"
    with pytest.raises(InvalidOption, match="CONSUL_HTTP_SSL='yes' is neither true nor false"):
        resolve({}, {"CONSUL_HTTP_SSL": "yes"})


def test_a_token_file_is_read_without_its_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  abc-123 \n", encoding="utf-8")
    path = str(tmp_path / "token")
    assert resolve({"token_file": path}, {"CONSUL_HTTP_TOKEN": "x"}).token == "abc-123"
    assert resolve({}, {"CONSUL_HTTP_TOKEN_FILE": path}).token == "abc-123"
    assert resolve({}, {"CONSUL_HTTP_TOKEN_FILE": path, "CONSUL_HTTP_TOKEN": "x"}).token == "x"
    assert resolve({"token": ""}, {"CONSUL_HTTP_TOKEN": "x"}).token is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token": "a", "token_file": "b"}, "both given"),
        ({"token": "a\nb"}, "characters that no Consul token has"),
        ({"token_file": "{empty}"}, "is empty"),
        ({"token_file": "{binary}"}, "not plain text"),
        ({"token_file": "{nothing}"}, "No such file"),
        ({"http_auth": "nobody"}, "user:password"),
        ({"client_key": "/k"}, "without client_cert"),
        ({"timeout": 0}, "above 0"),
    ],
)
def test_an_invalid_option_is_an_error(tmp_path: Path, options: dict[str, t.Any], words: str) -> None:
    (tmp_path / "empty").write_bytes(b" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    places = {name: tmp_path / name for name in ("empty", "binary", "nothing")}
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(InvalidOption, match=words):
        resolve(filled, {})


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused_and_never_a_traceback(url: str) -> None:
    try:
        found = resolve({"url": url}, {})
    except InvalidOption:
        return
    assert found.base_url.startswith(("http://", "https://"))


def test_repr_and_str_contain_no_secrets() -> None:
    found = resolve({"token": "s3cret-token", "http_auth": "me:s3cret"}, {})
    assert "s3cret" not in repr(found) and "s3cret" not in str(found)
