# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of every other shape than Consul's: each is one sentence, never a traceback, in every module and function.

One request of a real run, drawn at random, gets the answer; the others get Consul's own.
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
from tests.lab.fill import fill, fill_kv
from tests.lab.shapes import BODIES, Change, Replaced, ShapeServer, changes

from .conftest import MakeClient

SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))
ALL_BODIES = [Replaced(body) for body in BODIES]
MODULE_EXAMPLES = int(os.environ.get("SHAPE_EXAMPLES", "20"))  # a search at a desk may take hundreds
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shape_lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """A lab of this file's own: restores with wrong answers leave anything behind."""
    with Lab(tmp_path_factory.mktemp("shapes")) as lab:
        yield lab


@pytest.fixture(scope="module")
def datacenter(shape_lab: Lab) -> Datacenter:
    found = shape_lab.datacenter("shapes")
    fill(found, keys=20)
    return found


@pytest.fixture(scope="module")
def server(shape_lab: Lab, datacenter: Datacenter) -> t.Iterator[ShapeServer]:
    with ShapeServer(datacenter.url, shape_lab.address()) as found:
        yield found


@pytest.fixture(scope="module")
def second(shape_lab: Lab) -> Datacenter:
    """Where keys are replicated from."""
    found = shape_lab.datacenter("second")
    fill_kv(found, 20, prefix="app/")
    return found


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


@pytest.mark.client_library
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_a_result_or_a_typed_error(server: ShapeServer, make_client: MakeClient, name: str) -> None:
    client = make_client(url=server.url, timeout=5)
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
    server: ShapeServer, make_client: MakeClient
) -> None:
    client = make_client(url=server.url)
    for body in BODIES:
        server.begin(None, Replaced(body))
        with pytest.raises(errors.InvalidResponse):
            kv.read_shard(client, "app/")
        if body != b'["text"]':  # a list of names as Consul gives it
            with pytest.raises(errors.InvalidResponse):
                kv.list_keys(client, "app/")


# ---------------------------------------------------------------------------------------------------------------
# Modules


class Run(t.NamedTuple):
    """One way to run a module; ``path`` is a file or directory of the run's own."""

    module: str
    options: t.Callable[[ShapeServer, Datacenter, Path], dict[str, t.Any]]


RUNS = {
    "saved": Run("consul_snapshot", lambda server, second, path: {"path": path / "saved.snap", "url": server.url}),
    "restored": Run(
        "consul_snapshot",
        lambda server, second, path: {
            "path": path / "base.snap",
            "state": "restored",
            "url": server.url,
            "leader_timeout": 3,
            "force": True,
        },
    ),
    "restored prefixes": Run(
        "consul_snapshot",
        lambda server, second, path: {
            "path": path / "base.snap",
            "state": "restored",
            "url": server.url,
            "prefixes": ["app/"],
            "prune": True,
        },
    ),
    "compared live": Run(
        "consul_snapshot_info",
        lambda server, second, path: {"path": path / "base.snap", "compare_live": True, "url": server.url},
    ),
    "replicated from": Run(
        "consul_kv_replicate",
        lambda server, second, path: {
            "source": {"url": server.url},
            "destination": {"url": second.url},
            "prefixes": [{"source": "app/", "destination": f"copy{next(_numbers)}/"}],
            "retry_timeout": 1,
            "lock_wait": 1,
        },
    ),
    "replicated to": Run(
        "consul_kv_replicate",
        lambda server, second, path: {
            "source": {"url": second.url},
            "destination": {"url": server.url},
            "prefixes": [{"source": "app/", "destination": f"copy{next(_numbers)}/"}],
            "retry_timeout": 1,
            "lock_wait": 1,
        },
    ),
    "checked": Run(
        "consul_alert_check", lambda server, second, path: {"url": server.url, "wait": 0, "fail_on": "critical"}
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_module_ends_with_a_result_or_one_sentence(
    server: ShapeServer, datacenter: Datacenter, second: Datacenter, tmp_path: Path, name: str
) -> None:
    run = RUNS[name]
    (tmp_path / "base.snap").write_bytes(datacenter.snapshot())
    server.begin(-1, lambda body: body)
    _run(run, server, second, tmp_path)
    count = len(server.requests)

    @settings(SETTINGS, max_examples=MODULE_EXAMPLES)
    @given(position=st.integers(0, count - 1) | st.none(), change=changes, number=st.integers(0, 99))
    def check(position: int | None, change: Change, number: int) -> None:
        datacenter.put("/v1/kv/app/changing", str(number))
        server.begin(position, change)
        _run(run, server, second, tmp_path)

    check()


def _run(run: Run, server: ShapeServer, second: Datacenter, path: Path) -> None:
    try:
        run_module(run.module, timeout=5, **run.options(server, second, path))
    except ModuleFailed as failure:
        assert is_a_sentence(failure.result["msg"]), failure.result
        assert failure.result.get("exception") is None
