# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP endpoint of an agent: a listening socket, and the server and application behind it. On loopback by default."""

from __future__ import annotations

import logging
import socket
import typing as t

from .._consul.errors import LocalFailure
from ._libraries import require_agent_libraries
from .listen_config import ListenConfig, load_certificate, tls_context
from .web_app import Application
from .web_server import WebServer

log = logging.getLogger("consulops")

BACKLOG = 64


class HttpEndpoint:
    """Listens from the moment it is created until ``stop``. Raises LocalFailure when it cannot listen.

    ``replaces`` is an open endpoint that will be stopped next. The new one may then take an address that overlaps with
    the old one's on the same port (127.0.0.1 and 0.0.0.0); if it cannot be opened, the old one keeps serving.
    """

    def __init__(self, listen: ListenConfig, application: Application, replaces: HttpEndpoint | None = None) -> None:
        require_agent_libraries()
        self.listen = listen
        self._context = tls_context(listen) if listen.tls_cert else None
        family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        shares_port = replaces is not None and replaces.listen.port == listen.port
        listeners = [self._listener, *([replaces._listener] if replaces and shares_port else [])]
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Only while both are open: at any other time a port that is taken must be an error.
            _share_port(listeners, shared=shares_port)
            self._listener.bind((listen.address, listen.port))
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            raise LocalFailure(
                f"The endpoint cannot listen on {listen.address} port {listen.port}: {error.strerror or error}. Give "
                "endpoint.port another number, or set endpoint.enabled to false."
            ) from None
        finally:
            _share_port(listeners, shared=False)
        self._server = WebServer(self._listener, application, self._context)
        self._server.start_thread()
        log.debug("the endpoint listens on %s port %d", listen.address, listen.port)

    def reload(self, application: Application) -> None:
        """Serve another application, and read the certificate again: its files may have been renewed. Raises InvalidOption."""
        if self._context is not None:
            load_certificate(self._context, self.listen)
        self._server.wsgi_app = application

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.stop_soon()


def _share_port(listeners: t.Iterable[socket.socket], *, shared: bool) -> None:
    """Allow or forbid that sockets of one user listen on overlapping addresses. Source: SO_REUSEPORT in socket(7)."""
    for listener in listeners:
        if listener.fileno() >= 0:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
