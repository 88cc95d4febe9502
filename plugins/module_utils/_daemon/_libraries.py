# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded imports of the libraries that only agents need: web framework, web server, templates, metrics.

A missing library becomes MissingLibrary when an endpoint is opened, never a traceback at import.
"""

from __future__ import annotations

import traceback
import typing as t

from .._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    import bottle
    import jinja2
    import prometheus_client
    from cheroot import server as cheroot_server
    from cheroot import wsgi as cheroot_wsgi
    from cheroot.makefile import StreamReader, StreamWriter
    from cheroot.ssl import Adapter as TLSAdapterBase
    from prometheus_client import core as prometheus_core

    HTTPConnectionBase = cheroot_server.HTTPConnection
    HTTPRequestBase = cheroot_server.HTTPRequest
    WSGIServerBase = cheroot_wsgi.Server
    AGENT_LIBRARIES_IMPORT_ERROR: str | None = None
else:
    try:
        import bottle
        import jinja2
        import prometheus_client
        from cheroot import server as cheroot_server
        from cheroot import wsgi as cheroot_wsgi
        from cheroot.makefile import StreamReader, StreamWriter
        from cheroot.ssl import Adapter as TLSAdapterBase
        from prometheus_client import core as prometheus_core

        HTTPConnectionBase = cheroot_server.HTTPConnection
        HTTPRequestBase = cheroot_server.HTTPRequest
        WSGIServerBase = cheroot_wsgi.Server
    except ImportError:
        bottle = jinja2 = prometheus_client = prometheus_core = cheroot_server = cheroot_wsgi = None
        StreamReader = StreamWriter = TLSAdapterBase = HTTPConnectionBase = HTTPRequestBase = WSGIServerBase = object
        AGENT_LIBRARIES_IMPORT_ERROR = traceback.format_exc()
    else:
        AGENT_LIBRARIES_IMPORT_ERROR = None


def require_agent_libraries() -> None:
    """Raise MissingLibrary when the libraries of agents cannot be imported."""
    if AGENT_LIBRARIES_IMPORT_ERROR:
        raise MissingLibrary("cheroot bottle Jinja2 prometheus_client", AGENT_LIBRARIES_IMPORT_ERROR)
