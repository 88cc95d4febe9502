# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths of the snapshot agent: its page, and the policies as JSON. They read only."""

from __future__ import annotations

import time
import typing as t

from ..._consul.units import timestamp
from ..._daemon.routes import HTML, Route, WebRequest, WebResponse
from ..._daemon.status import AgentStatus
from .memory import Memory
from .page import page


def routes() -> tuple[Route, ...]:
    """Return the routes."""
    return (Route("GET", "/", _page), Route("GET", "/policies", _policies))


def _page(request: WebRequest) -> WebResponse:
    status: AgentStatus = t.cast("t.Any", request.status)()
    memory: Memory = request.memory
    return WebResponse(200, HTML, page(status, memory.policies(), memory.all_waiting(), time.time()))


def _policies(request: WebRequest) -> WebResponse:
    memory: Memory = request.memory
    return WebResponse.json({"as_of": timestamp(time.time()), **memory.section()})
