# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The web application of the endpoint: the frame's paths, the routes of the agent, and the headers of every response."""

from __future__ import annotations

import functools
import json
import typing as t
from dataclasses import dataclass

from .._consul import errors
from ._libraries import bottle
from .listen_config import AccessConfig
from .metrics import CONTENT_TYPE, exposition
from .pages import page
from .routes import HTML, TEXT, Route, WebRequest, WebResponse
from .status import AgentStatus
from .status_json import as_json
from .web_access import READS, Asked, refusal

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

Application = t.Callable[..., t.Any]  # WSGI


def respond(path: str, status: AgentStatus, more_metrics: t.Iterable[t.Any] = ()) -> WebResponse | None:
    """Return the response of one of the frame's own paths, None for another path. ``more_metrics`` are those of the agent."""
    if path == "/healthz":
        text = f"no sign of life from {', '.join(status.stalled)}" if status.stalled else "alive"
        return WebResponse(200 if status.is_alive else 503, TEXT, f"{text}\n")
    if path == "/readyz":
        return WebResponse(200 if status.healthy else 503, TEXT, f"{status.sentence}\n")
    if path == "/metrics":
        return WebResponse(200, CONTENT_TYPE, exposition(status, more_metrics))
    if path == "/status":
        return WebResponse.json(as_json(status))
    if path in ("/", "/status.html"):
        return WebResponse(200, HTML, page(status))
    return None


PATHS = ("/", "/healthz", "/readyz", "/metrics", "/status", "/status.html")


@dataclass(frozen=True)
class Served:
    """What the application serves: the status, the routes of the agent with the memory that they share with its jobs, to whom.

    ``own_names`` are the names of this host. ``metrics`` returns what the agent adds to the metrics.
    """

    status: t.Callable[[], AgentStatus]
    access: AccessConfig
    routes: t.Sequence[Route]
    own_names: t.Collection[str]
    memory: t.Any = None
    metrics: t.Callable[[t.Any], t.Iterable[t.Any]] = lambda _memory: ()


def make_application(served: Served) -> Application:
    """Return the application."""
    app = bottle.Bottle()

    def shown(path: str) -> t.Any:
        more_metrics = served.metrics(served.memory) if path == "/metrics" else ()
        return _response(t.cast("WebResponse", respond(path, served.status(), more_metrics)))

    replaced = {route.path for route in served.routes if route.method == "GET"}
    for path in PATHS:
        if path not in replaced:
            app.route(path, "GET", functools.partial(shown, path))
    for route in served.routes:
        app.route(route.path, route.method, functools.partial(_call, route, served))
    known = dict.fromkeys([*PATHS, *(route.path for route in served.routes)])
    app.default_error_handler = functools.partial(_error, list(known))

    def guarded(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        refused = refusal(_asked(environ), served.access, served.own_names)
        if refused is None:
            return app(environ, start_response)
        body = f"{refused.sentence}\n".encode()
        more = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
        headers = {**HEADERS, **more, "Content-Type": TEXT, "Content-Length": str(len(body))}
        start_response(f"{refused.status} {bottle.HTTP_CODES.get(refused.status, 'Refused')}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return guarded


def _asked(environ: t.Mapping[str, t.Any]) -> Asked:
    return Asked(
        method=environ["REQUEST_METHOD"],
        host=environ.get("HTTP_HOST"),
        origin=environ.get("HTTP_ORIGIN"),
        authorization=environ.get("HTTP_AUTHORIZATION"),
        content_type=environ.get("CONTENT_TYPE"),
        has_body=environ.get("CONTENT_LENGTH", "0") not in ("", "0"),
    )


def _call(route: Route, served: Served, **arguments: str) -> t.Any:
    try:
        request = WebRequest(arguments, _query(), _body(route.method), served.memory, served.status)
        return _response(route.handler(request))
    except errors.InvalidOption as error:
        return _response(WebResponse(400, TEXT, f"{error}\n"))
    except errors.Error as error:
        return _response(WebResponse(503, TEXT, f"{error}\n"))


def _query() -> dict[str, str]:
    """Return the parameters of the request. Raises InvalidOption."""
    try:
        return dict(bottle.request.query.decode())
    except UnicodeError:
        raise errors.InvalidOption("The query is not UTF-8.") from None


def _body(method: str) -> t.Any:
    """Return the decoded JSON of the request, None without a body. Raises InvalidOption."""
    content = b"" if method in READS else bottle.request.body.read()
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise errors.InvalidOption("The body is not JSON.") from None


def _response(response: WebResponse) -> t.Any:
    return bottle.HTTPResponse(
        response.text.encode(),
        response.status,
        headers={**HEADERS, **response.headers, "Content-Type": response.content_type},
    )


def _error(paths: t.Sequence[str], error: t.Any) -> str:
    """Return the text of an error of the framework: no such path, no such method, or a bug."""
    for name, value in {**HEADERS, "Content-Type": TEXT}.items():
        error.set_header(name, value)
        bottle.response.set_header(name, value)
    if error.status_code == 404:
        return f"Not found. Available paths: {', '.join(paths)}.\n"
    return f"{error.status_line}\n"
