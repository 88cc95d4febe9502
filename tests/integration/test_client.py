# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client on real Consul: options against environment, what it sends, and the error for every failure."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.faults import Proxy
from tests.lab.fill import new_token
from tests.lab.tls import Authority

from .conftest import MakeClient, tls_options

pytestmark = pytest.mark.client_library

HOSTILE = [
    {"CONSUL_HTTP_ADDR": "consul.local"},
    {"CONSUL_HTTP_ADDR": "https://[::1]:8501", "CONSUL_HTTP_SSL": "true"},
    {"CONSUL_HTTP_ADDR": "unix:///nowhere/consul.sock"},
    {"CONSUL_HTTP_TOKEN": "00000000-dead-beef-0000-000000000000"},
    {"CONSUL_HTTP_TOKEN_FILE": "/nowhere/token", "CONSUL_HTTP_AUTH": "eve:secret"},
    {"CONSUL_HTTP_SSL": "true", "CONSUL_CACERT": "/nowhere/ca.pem", "CONSUL_HTTP_SSL_VERIFY": "false"},
    {"CONSUL_CLIENT_CERT": "/nowhere/cert.pem", "CONSUL_CLIENT_KEY": "/nowhere/key.pem"},
    {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: ",".join(sorted(hostile)))
def test_explicit_options_beat_a_hostile_environment(
    secured: Datacenter, monkeypatch: pytest.MonkeyPatch, hostile: dict[str, str]
) -> None:
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    options = {"url": secured.url, "token": secured.token}
    if "CONSUL_CLIENT_CERT" in hostile or "CONSUL_CACERT" in hostile:
        options["url"] = secured.url  # plain HTTP never looks at certificates
    with Client(endpoint.resolve(options, os.environ)) as client:
        client.check_leader()
        assert client.consul.kv.put("env/probe", "1") is True
        assert client.consul.kv.get("env/probe")[1]["Value"] == b"1"
        assert client.consul.agent.self()["Config"]["NodeName"] == "secured-s1"
        session = client.consul.session.create(name="env")
        assert client.consul.session.destroy(session) is True
        operations = json.dumps([{"KV": {"Verb": "set", "Key": "env/txn", "Value": "MQ=="}}]).encode()
        assert client.put("/v1/txn", body=operations).json()["Errors"] is None
        with client.stream("/v1/snapshot") as stream:
            assert stream.read(2) == b"\x1f\x8b"


def test_the_environment_is_used_when_nothing_is_given(secured: Datacenter) -> None:
    environment = {"CONSUL_HTTP_ADDR": secured.url.removeprefix("http://"), "CONSUL_HTTP_TOKEN": str(secured.token)}
    with Client(endpoint.resolve({}, environment)) as client:
        assert client.whoami().datacenter == "secured"


def test_two_clients_use_their_own_endpoints(dc1: Datacenter, secured: Datacenter, make_client: MakeClient) -> None:
    one, two = make_client(dc1), make_client(secured)
    assert (one.whoami().datacenter, two.whoami().datacenter) == ("dc1", "secured")


def test_the_token_is_never_part_of_the_address(secured: Datacenter, shared_lab: Lab, make_client: MakeClient) -> None:
    with Proxy(secured.url, shared_lab.address()) as proxy:
        client = make_client(url=proxy.url, token=secured.token)
        client.consul.kv.put("a", "b")
        client.consul.session.list()
        client.get("/v1/catalog/nodes")
        assert all(str(secured.token) not in path for _method, path in proxy.requests)
        assert all(headers["X-Consul-Token"] == secured.token for headers in proxy.headers)
        assert {headers["Accept-Encoding"] for headers in proxy.headers} == {"identity"}


def test_a_request_does_not_affect_the_next(dc1: Datacenter, shared_lab: Lab, make_client: MakeClient) -> None:
    with Proxy(dc1.url, shared_lab.address()) as proxy:
        client = make_client(url=proxy.url)
        client.exchange("PUT", "/v1/kv/leaves", {}, b"four", headers={"X-Only-Here": "1"})
        client.put("/v1/kv/leaves")
        client.get("/v1/kv/leaves")
        client.delete("/v1/kv/leaves")
        sent = [(headers.get("Content-Length"), headers.get("X-Only-Here")) for headers in proxy.headers]
    assert [method for method, _path in proxy.requests] == ["PUT", "PUT", "GET", "DELETE"]
    assert sent == [("4", "1"), ("0", None), (None, None), ("0", None)]


def test_the_cookie_of_a_load_balancer_is_sent_back(dc1: Datacenter, shared_lab: Lab, make_client: MakeClient) -> None:
    with Proxy(dc1.url, shared_lab.address(), "cookie", path="/v1/status/leader") as proxy:
        client = make_client(url=proxy.url)
        for path in ("/v1/status/leader", "/v1/status/peers", "/v1/status/peers"):
            client.get(path)
        assert [headers.get("Cookie") for headers in proxy.headers] == [None, "sticky=1", "sticky=1"]


def test_an_empty_token_means_the_anonymous_token(secured: Datacenter) -> None:
    options = {"url": secured.url, "token": ""}
    with Client(endpoint.resolve(options, {"CONSUL_HTTP_TOKEN": str(secured.token)})) as client:
        with pytest.raises(errors.PermissionDenied, match="No token was given|The anonymous token lacks"):
            client.consul.kv.put("a", "b")


def test_a_unix_socket_can_be_the_address(dc1: Datacenter, make_client: MakeClient) -> None:
    client = make_client(url=f"unix://{dc1.servers[0].socket_path}")
    assert client.consul.kv.put("unix", "1") is True
    client.check_leader()


def test_a_missing_unix_socket_is_unreachable(make_client: MakeClient, tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match="No such file or directory"):
        make_client(url=f"unix://{tmp_path}/none.sock").check_leader()


def test_another_datacenter_is_reached_through_the_local_one(
    federation: tuple[Datacenter, Datacenter], make_client: MakeClient
) -> None:
    east, west = federation
    client = make_client(east, datacenter="west")
    client.check_leader()
    client.consul.kv.put("through", "east")
    assert west.get("/v1/kv/through")[0]["Key"] == "through"
    assert make_client(east).get("/v1/kv/through", absent_ok=True).status == 404


def test_an_unknown_datacenter_is_named(dc1: Datacenter, make_client: MakeClient) -> None:
    with pytest.raises(errors.UnknownDatacenter, match="knows no datacenter 'mars'"):
        make_client(dc1, datacenter="mars").check_leader()


def test_an_unknown_token_is_not_a_missing_permission(secured: Datacenter, make_client: MakeClient) -> None:
    with pytest.raises(errors.PermissionDenied, match="does not know the token"):
        make_client(secured, token="00000000-dead-beef-0000-000000000000").check_leader()


def test_nothing_listening_is_unreachable(shared_lab: Lab, make_client: MakeClient) -> None:
    with pytest.raises(errors.Unreachable, match="Connection refused. Is the Consul agent running there"):
        make_client(url=f"http://{shared_lab.address()}:8500").check_leader()


def test_a_name_that_does_not_exist_is_unreachable(make_client: MakeClient) -> None:
    with pytest.raises(errors.Unreachable, match="(?i)name"):
        make_client(url="http://consul.invalid:8500").check_leader()


def test_a_hung_agent_times_out(lab: Lab, make_client: MakeClient) -> None:
    datacenter = lab.datacenter()
    datacenter.servers[0].pause()
    started = time.monotonic()
    with pytest.raises(errors.TimedOut, match="no answer within 1 s"):
        make_client(datacenter, timeout=1).check_leader()
    assert time.monotonic() - started < 5


def test_an_address_that_drops_packets_times_out(shared_lab: Lab, make_client: MakeClient) -> None:
    address = shared_lab.address()
    with socket.socket() as full:  # a listener whose queue is full accepts no connection and refuses none
        full.bind((address, 8500))
        full.listen(0)
        fillers = [socket.socket() for _number in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((address, 8500))
            with pytest.raises(errors.TimedOut):
                make_client(url=f"http://{address}:8500", timeout=1).check_leader()
        finally:
            for filler in fillers:
                filler.close()


def test_a_datacenter_without_a_leader_is_not_reported_as_down(lab: Lab, make_client: MakeClient) -> None:
    datacenter = lab.datacenter(servers=3)
    leader = datacenter.leader()
    survivor, other = datacenter.followers()
    # The default timeout: long enough for Consul's own wait for a leader (rpc_hold_timeout, 7 s).
    client = make_client(url=survivor.url, timeout=None)
    client.check_leader()
    other.stop()
    leader.stop()
    with pytest.raises(errors.NoLeader, match="no leader now|does not answer"):
        eventually(client.check_leader, what="NoLeader")


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("page", errors.InvalidResponse, "Welcome to nginx"),
        ("error", errors.ServerFailed, "503"),
        ("redirect", errors.InvalidResponse, "not followed because the token would go along"),
        ("cut", errors.Unreachable, "broke off before the end"),
        ("hang", errors.TimedOut, "no answer within 1 s"),
        ("stall", errors.TimedOut, "nothing more came for 1 s"),
    ],
)
def test_a_broken_answer_is_a_typed_error(
    dc1: Datacenter, shared_lab: Lab, make_client: MakeClient, fault: str, kind: type[Exception], words: str
) -> None:
    with Proxy(dc1.url, shared_lab.address(), fault, path="/v1/catalog/nodes") as proxy:
        client = make_client(url=proxy.url, timeout=1)
        with pytest.raises(kind, match=words):
            client.get("/v1/catalog/nodes").json()


def test_library_calls_raise_typed_errors_too(dc1: Datacenter, shared_lab: Lab, make_client: MakeClient) -> None:
    with Proxy(dc1.url, shared_lab.address(), "page", path="/v1/catalog/nodes") as proxy:
        with pytest.raises(errors.InvalidResponse, match="not Consul's"):
            make_client(url=proxy.url).consul.catalog.nodes()
    with pytest.raises(errors.NotFound):
        make_client(dc1).consul.session.renew("11111111-2222-3333-4444-555555555555")


def test_whoami_is_none_for_what_the_token_may_not_read(secured: Datacenter, make_client: MakeClient) -> None:
    token = new_token(secured, 'key_prefix "" { policy = "read" }', "narrow-whoami")
    who = make_client(secured, token=token).whoami()
    assert (who.node, who.datacenter, who.version) == (None, "secured", None)


def test_requests_are_logged_at_debug_level_without_secrets_or_values(
    secured: Datacenter, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(secured, datacenter="secured")
    with caplog.at_level(logging.INFO, "consulops"):
        client.put("/v1/kv/logged", {"flags": 4711}, b"a value")
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "consulops"):
        client.put("/v1/kv/logged", {"flags": 4711}, b"a value")
        client.get("/v1/kv/logged", index=1, wait_s=1)
        client.stream("/v1/snapshot").close()
        with pytest.raises(errors.NotFound):
            client.get("/v1/kv/logged/not")
    first, second, third, fourth = [record.getMessage() for record in caplog.records if record.name == "consulops"]
    line = rf"of {re.escape(secured.url)} \(datacenter secured\)"
    assert re.fullmatch(rf"PUT /v1/kv/logged {line} with dc&flags: 200, 4 bytes, \d+\.\d ms", first)
    assert re.fullmatch(rf"GET /v1/kv/logged {line} with dc&index&wait: 200, \d+ bytes, \d+\.\d ms", second)
    assert re.fullmatch(rf"GET /v1/snapshot {line} with dc: 200, a stream, \d+\.\d ms", third)
    assert re.fullmatch(rf"GET /v1/kv/logged/not {line} with dc: 404, 0 bytes, \d+\.\d ms", fourth)
    assert not any(secret in caplog.text for secret in (str(secured.token), "a value", "YSB2YWx1ZQ", "4711"))


# ------------------------------------------------------------------------------------------------------------ TLS


def test_https_with_a_client_certificate(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(**tls_options(tls_datacenter, authority, tmp_path))
    assert client.whoami().datacenter == "tls"


def test_certificate_and_key_may_be_one_file_and_the_authorities_a_directory(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient, tmp_path: Path
) -> None:
    options = tls_options(tls_datacenter, authority, tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(options["client_cert"]).read_bytes() + Path(options.pop("client_key")).read_bytes())
    directory = tmp_path / "authorities"
    directory.mkdir()
    (directory / "README").write_text("not a certificate", encoding="utf-8")
    (directory / "lab.pem").write_bytes(authority.ca_path.read_bytes())
    client = make_client(**{**options, "client_cert": str(both), "ca_path": str(directory)})
    client.check_leader()


def test_the_certificate_must_be_for_tls_server_name(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient, tmp_path: Path
) -> None:
    options = tls_options(tls_datacenter, authority, tmp_path)
    make_client(**options, tls_server_name="server.tls.consul").check_leader()
    with pytest.raises(errors.TLSFailed, match="set tls_server_name"):
        make_client(**options, tls_server_name="server.other.consul").check_leader()


def test_an_untrusted_authority_is_reported_with_advice(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient, tmp_path: Path
) -> None:
    options = tls_options(tls_datacenter, authority, tmp_path)
    other = Authority(tmp_path / "other", "Other CA")
    with pytest.raises(errors.TLSFailed, match="name the right one with ca_path"):
        make_client(**{**options, "ca_path": str(other.ca_path)}).check_leader()
    with pytest.raises(errors.TLSFailed, match="name the right one with ca_path"):
        make_client(**{**options, "ca_path": None}).check_leader()
    make_client(**{**options, "ca_path": None, "validate_certs": False}).check_leader()


def test_a_missing_client_certificate_is_reported(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient
) -> None:
    client = make_client(url=tls_datacenter.servers[0].https_url, ca_path=str(authority.ca_path))
    with pytest.raises(errors.TLSFailed, match="set client_cert and client_key"):
        client.check_leader()


def test_an_expired_certificate_is_reported(lab: Lab, authority: Authority, make_client: MakeClient) -> None:
    datacenter = lab.datacenter("late", authority=authority, certificate_days=-1)
    client = make_client(url=datacenter.servers[0].https_url, ca_path=str(authority.ca_path))
    with pytest.raises(errors.TLSFailed, match="its certificate has expired"):
        client.check_leader()


def test_https_on_a_plain_port_and_http_on_a_tls_port_are_reported(
    tls_datacenter: Datacenter, authority: Authority, make_client: MakeClient
) -> None:
    server = tls_datacenter.servers[0]
    with pytest.raises(errors.TLSFailed, match="does not speak TLS"):
        make_client(url=server.url.replace("http:", "https:")).check_leader()
    with pytest.raises(errors.ConsulError, match="use https://"):
        make_client(url=server.https_url.replace("https:", "http:")).check_leader()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path /nowhere/ca.pem cannot be used"),
        ({"client_cert": "/nowhere/cert.pem"}, "client_cert /nowhere/cert.pem cannot be used"),
        ({"ca_path": "{empty}"}, "holds no certificate"),
    ],
)
def test_unusable_certificate_files_are_an_option_error(
    make_client: MakeClient, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = {name: value.format(empty=tmp_path / "empty") for name, value in options.items()}
    with pytest.raises(errors.InvalidOption, match=words):
        make_client(url="https://127.0.0.1:8501", **filled)
