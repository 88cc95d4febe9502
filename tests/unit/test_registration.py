# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registration of an agent with a Consul agent that lost it, as 1.8.7 and 1.23-dev were seen to say so."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import make_config
from ansible_collections.consulops.failover.plugins.module_utils._daemon.registration import (
    Registration,
    RegistrationSpec,
)
from ansible_collections.consulops.failover.plugins.module_utils._daemon.status_board import StatusBoard

from tests.lab.faults import Proxy, Recorded
from tests.lab.probe_agent import PROBE
from tests.lab.recorded import NEW, OLD, recorded

REGISTER, UPDATE = "service/register", "check/update"
DONE: Recorded = (200, {}, b"")


@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_the_consul_agent_does_not_know_is_registered_again(version: str) -> None:
    asked: list[str] = []
    updated = threading.Event()

    def answer(method: str, path: str) -> Recorded:
        asked.append("/".join(path.split("/")[3:5]))
        if asked == [REGISTER, UPDATE]:  # the Consul agent lost its state in between
            return recorded(version, "check_update_unknown")
        if asked[-2:] == [UPDATE, UPDATE]:
            updated.set()
        return DONE

    with Proxy("http://127.0.0.1:1", "127.0.0.1") as consul:
        consul.replay = answer
        config = make_config({"agent": "probe", "connection": {"url": consul.url}}, {}, {"probe": PROBE})
        board = StatusBoard("probe", "probe", "n", lambda _old, _new: None)
        registration = Registration(t.cast("RegistrationSpec", RegistrationSpec.of(config)), board, lambda: None)
        registration.start()
        assert updated.wait(10), asked
        registration.request_stop()
        registration.join(5)
    assert asked == [REGISTER, UPDATE, REGISTER, UPDATE, UPDATE, "service/deregister"]
