# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of every other shape than Consul's: each is one sentence, never a traceback, in every module and function.

One request of a real run gets the answer, each in turn and then one drawn at random; the others get Consul's own.
"""

from __future__ import annotations

import itertools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import errors, kv, txn
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.lock import Lock
from ansible_collections.consulops.failover.plugins.module_utils._consul.watch import Watch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.lab.ansible import ModuleFailed, run_module
from tests.lab.consul import Datacenter, Lab
from tests.lab.fill import fill, fill_kv, new_token
from tests.lab.shapes import BODIES, Change, Replaced, ShapeProxy, changes

from .conftest import MakeClient

SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))
ALL_BODIES = [Replaced(body) for body in BODIES]
MODULE_EXAMPLES = int(os.environ.get("SHAPE_EXAMPLES", "10"))  # a search at a desk may take hundreds
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shape_lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """A lab of this file's own: restores with wrong answers leave anything behind."""
    with Lab(tmp_path_factory.mktemp("shapes")) as lab:
        yield lab


@pytest.fixture(scope="module")
def datacenter(shape_lab: Lab, second: Datacenter) -> Datacenter:
    """With ACLs and a second datacenter, since both add requests to what a module does."""
    found = shape_lab.datacenter("shapes", acl=True)
    fill(found, keys=20)
    shape_lab.join_wan(found, second)
    return found


@pytest.fixture(scope="module")
def second(shape_lab: Lab) -> Datacenter:
    """Where keys are replicated from and to; its answers are not changed unless they come through the first."""
    found = shape_lab.datacenter("second")
    fill_kv(found, 20, prefix="app/")
    return found


@pytest.fixture(scope="module")
def server(shape_lab: Lab, datacenter: Datacenter) -> t.Iterator[ShapeProxy]:
    with ShapeProxy(datacenter.url, shape_lab.address()) as found:
        yield found


# What the client library sends or decodes; the rest is the same with each of them.
OVER_LIBRARY = ("whoami", "lock", "library: agent", "library: catalog", "library: key", "library: sessions")
LIBRARY = pytest.mark.client_library


def is_a_sentence(text: str) -> bool:
    return bool(text.strip()) and "\n" not in text and "Traceback" not in text


# ---------------------------------------------------------------------------------------------------------------
# Functions


def _acquire(client: Client) -> object:
    with Lock(client, "shapes/lock", name="shapes", lock_delay_s=0) as lock:
        assert lock.acquire(0) is lock.held
        return lock.confirm()


def _stream(client: Client) -> object:
    with client.stream("/v1/snapshot") as stream:
        return stream.read(100)


def _commit(client: Client) -> object:
    fence = txn.Operation("check-not-exists", "shapes/never")
    operations = [txn.Operation("set", "shapes/a", b"1"), txn.Operation("cas", "shapes/a", b"2", index=1)]
    return txn.Writer(client, fence=fence).commit(operations)


FUNCTIONS: dict[str, t.Callable[[Client], object]] = {
    "whoami": Client.whoami,
    "check_leader": Client.check_leader,
    "may": lambda client: client.may("key", "write", "app/"),
    "objects": lambda client: client.get("/v1/catalog/nodes").objects(),
    "object": lambda client: client.get("/v1/agent/self").object(),
    "strings": lambda client: client.get("/v1/catalog/datacenters").strings(),
    "list_keys": lambda client: kv.list_keys(client, "app/"),
    "list_all_keys": kv.list_keys,
    "read_key": lambda client: kv.read_key(client, "app/web/000000"),
    "read_shard": lambda client: kv.read_shard(client, "app/", decoded=kv.Decoded()),
    "read_shards": lambda client: list(kv.read_shards(client, "app/", shard_keys=5)),
    "check_readable": lambda client: kv.check_readable(client, "app/"),
    "present_of": lambda client: txn.present_of(client, ["app/none", "app/web/000000"]),
    "commit": _commit,
    "write_raw": lambda client: txn.write_raw(client, b"shapes/raw", b"1", 0, 0),
    "watch": lambda client: kv.entries_of(Watch(client, "/v1/kv/app/web/000000").next().response),
    "lock": _acquire,
    "stream": _stream,
    "library: agent": lambda client: client.consul.agent.self(),
    "library: catalog": lambda client: client.consul.catalog.nodes(),
    "library: key": lambda client: client.consul.kv.get("app/web/000000"),
    "library: sessions": lambda client: client.consul.session.list(),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LIBRARY if name in OVER_LIBRARY else ()) for name in FUNCTIONS]
)
def test_a_function_gives_a_result_or_a_typed_error(
    server: ShapeProxy, datacenter: Datacenter, make_client: MakeClient, name: str
) -> None:
    client = make_client(url=server.url, token=datacenter.token)
    function = FUNCTIONS[name]
    server.begin(-1, lambda body: body)
    function(client)
    count = len(server.requests)

    @SETTINGS
    @given(position=st.integers(0, count - 1) | st.none(), change=changes)
    def check(position: int | None, change: Change) -> None:
        server.begin(position, change)
        try:
            function(client)
        except errors.Error as error:
            assert is_a_sentence(str(error))

    for change in ALL_BODIES:
        check = example(position=None, change=change)(check)
    check()


def test_an_answer_that_is_not_consuls_never_passes_for_an_empty_store(
    server: ShapeProxy, datacenter: Datacenter, make_client: MakeClient
) -> None:
    client = make_client(url=server.url, token=datacenter.token)
    for body in BODIES:
        server.begin(None, Replaced(body))
        with pytest.raises(errors.InvalidResponse):
            kv.read_shard(client, "app/")
        if body != b'["text"]':  # a list of names as Consul gives it
            with pytest.raises(errors.InvalidResponse):
                kv.list_keys(client, "app/")


# ---------------------------------------------------------------------------------------------------------------
# Modules


class Setting(t.NamedTuple):
    """What a run is made of: connection options, and a directory with the snapshot ``base.snap``."""

    at: dict[str, t.Any]
    narrow: dict[str, t.Any]  # with a token that may not read the agent
    second: dict[str, t.Any]
    directory: Path


def _restore(setting: Setting, **options: t.Any) -> dict[str, t.Any]:
    base = setting.directory / "base.snap"
    return {"path": base, "state": "restored", "leader_timeout": 3, **setting.at, **options}


def _replicate(source: dict[str, t.Any], destination: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "source": source,
        "destination": destination,
        "prefixes": [{"source": "app/", "destination": f"copy{next(_numbers)}/"}],
        "name": "shapes",
        "retry_timeout": 1,
        "lock_wait": 1,
    }


RUNS: dict[str, tuple[str, t.Callable[[Setting], dict[str, t.Any]]]] = {
    "saved": ("consul_snapshot", lambda setting: {"path": setting.directory / "saved.snap", **setting.at}),
    "restored": ("consul_snapshot", lambda setting: _restore(setting, force=True)),
    "restored prefixes": ("consul_snapshot", lambda setting: _restore(setting, prefixes=["app/"], prune=True)),
    "compared live": (
        "consul_snapshot_info",
        lambda setting: {"path": setting.directory / "base.snap", "compare_live": True, **setting.at},
    ),
    "replicated from": ("consul_kv_replicate", lambda setting: _replicate(setting.at, setting.second)),
    "replicated to": ("consul_kv_replicate", lambda setting: _replicate(setting.second, setting.at)),
    "replicated through": (
        "consul_kv_replicate",
        lambda setting: _replicate(setting.at, {**setting.at, "datacenter": "second"}),
    ),
    "queried": (
        "consul_prepared_query",
        lambda setting: {
            **{"name": f"shapes-{next(_numbers)}", "service": "web", "failover": {"datacenters": ["second"]}},
            **{"execute": True, "plan": True, "explain": "shapes"},
            **setting.at,
        },
    ),
    "probed": (
        "consul_service_probe",
        lambda setting: {"services": ["web", "none"], "queries": ["none"], "expect": {"max_gap": "5s"}, **setting.at},
    ),
    "checked": ("consul_alert_check", lambda setting: setting.at),
    "checked with a narrow token": ("consul_alert_check", lambda setting: setting.narrow),
}


@pytest.fixture(scope="module")
def narrow_token(datacenter: Datacenter) -> str:
    rules = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
    return new_token(datacenter, rules, "shapes-narrow")


@pytest.mark.parametrize("name", RUNS)
def test_a_module_ends_with_a_result_or_one_sentence(
    server: ShapeProxy, datacenter: Datacenter, second: Datacenter, narrow_token: str, tmp_path: Path, name: str
) -> None:
    base = datacenter.snapshot()
    url = {"url": server.url, "timeout": 5}
    at, narrow = {**url, "token": datacenter.token}, {**url, "token": narrow_token}

    def run(number: int, position: int | None, change: Change) -> None:
        datacenter.put("/v1/kv/app/changing", str(number))  # or a restore would have nothing to do
        # A directory of its own: a restore whose outcome is unknown leaves a note that stops the next one.
        directory = tmp_path / str(next(_numbers))
        directory.mkdir()
        (directory / "base.snap").write_bytes(base)
        server.begin(position, change)
        module, options = RUNS[name]
        setting = Setting(at, narrow, {"url": second.url}, directory)
        try:
            run_module(module, **options(setting))
        except ModuleFailed as failure:
            assert is_a_sentence(failure.result["msg"]), failure.result
            assert failure.result.get("exception") is None

    run(0, -1, lambda body: body)
    count = len(server.requests)
    for position in range(count):  # every request, with the two bodies that most code stumbles over
        run(next(_numbers), position, Replaced(b"5"))
        run(next(_numbers), position, Replaced(b"[{}]"))

    @settings(SETTINGS, max_examples=MODULE_EXAMPLES)
    @given(position=st.integers(0, count - 1) | st.none(), change=changes, number=st.integers(1, 99))
    def check(position: int | None, change: Change, number: int) -> None:
        run(number, position, change)

    check()
