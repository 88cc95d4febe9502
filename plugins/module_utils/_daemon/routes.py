# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths that an agent adds to the endpoint, as plain data: neither web framework nor server shows here."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from .status import AgentStatus

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True)
class WebRequest:
    """A request that was let in.

    ``arguments`` are the parts of the path with a name, ``body`` is the decoded JSON, None without a body. ``memory`` is what the
    agent's jobs know as ``context.memory``, ``status`` gives the agent's current status.
    """

    arguments: t.Mapping[str, str]
    query: t.Mapping[str, str]
    body: t.Any = None
    memory: t.Any = None
    status: t.Callable[[], AgentStatus] | None = None


@dataclass(frozen=True)
class WebResponse:
    """A response. ``headers`` replace the usual ones of that name."""

    status: int
    content_type: str
    text: str
    headers: t.Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, data: t.Any, status: int = 200) -> WebResponse:
        """Return data as JSON."""
        return cls(status, JSON, json.dumps(data, indent=2) + "\n")


@dataclass(frozen=True)
class Route:
    """One path, ``/silences`` or ``/silences/<id>``, and who answers it.

    ``/`` replaces the page of the frame, which then is at ``/status.html`` only.

    Every method but GET changes something: it needs the token, and a JSON body or none. ``handler`` is called in a thread of the
    endpoint and must not wait long. An InvalidOption that it raises becomes 400, another Error 503, each with its sentence.
    """

    method: t.Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    handler: t.Callable[[WebRequest], WebResponse] = field(compare=False)
