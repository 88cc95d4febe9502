# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A watch of a source notices that it was restored between two of its queries, with which index ever they are sent."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client
from ansible_collections.consulops.failover.plugins.module_utils._consul.response import Response
from ansible_collections.consulops.failover.plugins.module_utils._consul.shard_plan import ShardSpec
from ansible_collections.consulops.failover.plugins.module_utils._replication.change_watch import (
    SELDOM_CHANGED,
    ChangeWatch,
    Watched,
)

from tests.lab.consul import Datacenter, Lab, eventually
from tests.lab.keys import write

KEYS, RESTORES = "keys", "restores"


class HeldClient(Client):
    """Holds blocking queries for keys until they may be sent, and counts those that were asked for."""

    may_be_sent: threading.Event
    blocking: dict[str, int]

    def get(self, path: str, *args: t.Any, **kwargs: t.Any) -> Response:
        if kwargs.get("index") is not None:
            self.blocking[path] = self.blocking.get(path, 0) + 1
            if path != SELDOM_CHANGED:
                self.may_be_sent.wait(60)
        return super().get(path, *args, **kwargs)


@pytest.mark.parametrize("may_read_services", [True, False])
def test_a_restore_between_two_queries_is_noticed_at_once(lab: Lab, may_read_services: bool) -> None:
    source: Datacenter = lab.datacenter("source", acl=True)
    rules = 'key_prefix "" { policy = "read" }' + ('service_prefix "" { policy = "read" }' if may_read_services else "")
    policy = source.put("/v1/acl/policy", {"Name": "reader", "Rules": rules})["ID"]
    token = source.put("/v1/acl/token", {"Policies": [{"ID": policy}]})["SecretID"]
    write(source, {"held/1": "old"})
    snapshot = source.snapshot()
    write(source, {"held/1": "new"})
    event = threading.Event()
    client = HeldClient(endpoint.resolve({"url": source.url, "token": token, "timeout": 5}, {}))
    with client:
        client.may_be_sent, client.blocking = threading.Event(), {}
        watch = ChangeWatch(client, event)
        watch.set_watched({KEYS: Watched(ShardSpec("held/")), RESTORES: Watched(None)})
        # The watch of the keys has an index and has not sent its query yet; the other one is under way.
        eventually(lambda: watch.take().get(KEYS), what="the first answer")
        eventually(lambda: len(client.blocking) == 2, what="both are asked again")
        source.put("/v1/snapshot", snapshot)
        client.may_be_sent.set()
        started = time.monotonic()
        eventually(watch.take_interruption, 20.0, "the restore is noticed")
        watch.start_over()
        eventually(lambda: watch.take().get(KEYS), 20.0, "the keys are asked for anew")
        assert time.monotonic() - started < 30 and watch.problem == ""
        watch.close()
        client.abort()
