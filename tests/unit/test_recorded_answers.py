# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What 1.8.7 and 1.23-dev answered to the same requests means the same, and makes the same sentence."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import parse_qsl

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors, failures, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

from tests.lab.faults import Proxy
from tests.lab.recorded import NEW, OLD, answers, recorded

FAILED = sorted(name for name, answer in answers(OLD).items() if answer["status"] >= 400 and answer["body"])
# These two differ in more than words: an unhealthy state as status, and errors inside a transaction.
OTHERS = {
    name for name in FAILED if name.startswith(("autopilot_health.", "txn_")) and answers(OLD)[name]["body"][:1] == "{"
}


ErrorOf = t.Callable[[str, str], errors.ConsulError]


@pytest.fixture(scope="module")
def server() -> t.Iterator[Proxy]:
    """A server that gives the answer that a test sets; nothing is behind it."""
    with Proxy("http://127.0.0.1:1", "127.0.0.1") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(server: Proxy) -> t.Iterator[Client]:
    with Client(endpoint.resolve({"url": server.url, "token": "00000000-1111-2222-3333-444444444444"}, {})) as client:
        yield client


@pytest.fixture
def error_of(server: Proxy, client: Client) -> ErrorOf:
    """Returns the error that the client makes of a recorded answer, sent over HTTP to the recorded request."""

    def error_of(version: str, name: str) -> errors.ConsulError:
        server.replay = lambda method, path: recorded(version, name)
        method, _space, target = answers(version)[name]["request"].partition(" ")
        path, _mark, query = target.partition("?")
        with pytest.raises(errors.ConsulError) as failure:
            client.exchange(method, path, dict(parse_qsl(query, keep_blank_values=True)))
        return failure.value

    return error_of


def test_both_versions_were_asked_the_same() -> None:
    assert set(answers(OLD)) == set(answers(NEW))
    assert len(FAILED) - len(OTHERS) > 25


@pytest.mark.parametrize("name", [name for name in FAILED if name not in OTHERS])
def test_the_same_error_is_made_of_both_answers(error_of: ErrorOf, name: str) -> None:
    old, new = error_of(OLD, name), error_of(NEW, name)
    assert type(old) is type(new)
    if not isinstance(new, errors.PermissionDenied):
        assert str(old).replace("129 > 64", "129 > 128") == str(new)
    assert "AccessorID" not in str(new) + new.consul_message and len(str(new)) < 250
    if isinstance(new, errors.PermissionDenied):
        # The missing permission is said once, and not at all where the caller says what the token needs.
        assert str(new).startswith(str(old))
        assert len(re.findall(r"(key|acl|operator):(read|write)", str(new))) <= 1
        assert isinstance(old, errors.PermissionDenied)
        assert str(new.with_advice("Before:", "After.")) == str(old.with_advice("Before:", "After."))


def test_the_accessor_id_is_in_the_details(error_of: ErrorOf) -> None:
    error = error_of(NEW, "kv_put.half_rights")
    assert str(error).endswith('403 Permission denied. The token lacks key:write on "app/b".')
    assert error.details == {"token_accessor_id": "6622e998-21de-dcb3-223b-33f216b8b0f3"}
    assert isinstance(error, errors.PermissionDenied)
    assert error.with_advice(after="It needs more.").details == error.details
    assert error_of(NEW, "kv_put.anonymous").details == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [("check_update_unknown", 'Unknown check "nope"'), ("deregister_unknown", 'Unknown service "nope"')],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_an_agent_that_does_not_know_a_check_or_service_says_not_found_in_the_same_words(
    error_of: ErrorOf, version: str, name: str, words: str
) -> None:
    error = error_of(version, name)
    assert isinstance(error, errors.NotFound)
    assert str(error).endswith(f": {words}.")
    assert error.consul_message == words


@pytest.mark.parametrize(
    ("version", "name", "details"),
    [
        (OLD, "txn_set_b.half_rights", {}),
        (NEW, "txn_set_b.half_rights", {"token_accessor_id": "6622e998-21de-dcb3-223b-33f216b8b0f3"}),
        (NEW, "txn_set_b.anonymous", {}),
    ],
)
def test_a_denied_transaction_has_the_accessor_id_in_its_details_only(
    server: Proxy, client: Client, version: str, name: str, details: dict[str, str]
) -> None:
    server.replay = lambda method, path: recorded(version, name)
    with pytest.raises(errors.PermissionDenied, match="Permission denied for the key 'app/b'") as failure:
        txn.Writer(client).commit([txn.Operation("set", "app/b", b"1")])
    assert failure.value.details == details
    assert "AccessorID" not in str(failure.value) + failure.value.consul_message


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        ("token with AccessorID 'a-b'", "The token lacks"),
        ("provided token", "The token lacks"),
        ("anonymous token", "The anonymous token lacks"),
    ],
)
def test_whoever_lacks_a_permission_is_named_in_the_sentence(
    server: Proxy, client: Client, who: str, shown: str
) -> None:
    text = f"Permission denied: {who} lacks permission 'key:write' on \"app/b\""
    server.replay = lambda method, path: (403, {}, text.encode())
    with pytest.raises(errors.PermissionDenied) as failure:
        client.put("/v1/kv/app/b")
    assert str(failure.value).endswith(f'403 Permission denied. {shown} key:write on "app/b".')
    assert failures.denial(text) is not None
