# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded imports of third-party libraries; all other files import their names from here.

A missing library becomes :class:`~.errors.MissingLibrary` when it is first needed, never a traceback at import.
"""

from __future__ import annotations

import importlib.metadata
import traceback
import typing as t

from .errors import MissingLibrary

MSGPACK_OLDEST = (1, 0, 0)

if t.TYPE_CHECKING:
    import consul
    import msgpack
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    LibraryConsul = consul.Consul
    LibraryBase = consul.base.Consul
    LibraryHTTPClient = consul.base.HTTPClient
    LibraryError = consul.ConsulException
    LibraryNotFound = consul.NotFound
    LibraryResponse = consul.base.Response
else:
    try:
        import requests
        import urllib3
        from requests.adapters import HTTPAdapter
        from urllib3.connection import HTTPConnection, HTTPSConnection
        from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    except ImportError:
        requests = urllib3 = None
        HTTPAdapter = HTTPConnection = HTTPSConnection = HTTPConnectionPool = HTTPSConnectionPool = object
        REQUESTS_IMPORT_ERROR = traceback.format_exc()
    else:
        REQUESTS_IMPORT_ERROR = None

    try:
        import consul
        from consul import base as _base

        LibraryConsul = consul.Consul
        LibraryBase = _base.Consul
        LibraryHTTPClient = _base.HTTPClient
        LibraryError = consul.ConsulException
        LibraryNotFound = consul.NotFound
        LibraryResponse = _base.Response
    except (ImportError, AttributeError):
        # AttributeError: two of python-consul2, py-consul and python-consul were installed and one was removed again,
        # which leaves an empty package "consul".
        consul = None
        LibraryConsul = LibraryBase = LibraryHTTPClient = LibraryResponse = object
        LibraryError = LibraryNotFound = type("LibraryError", (Exception,), {})
        CONSUL_IMPORT_ERROR = traceback.format_exc()
    else:
        CONSUL_IMPORT_ERROR = None

    try:
        try:
            import msgpack

            if msgpack.version < MSGPACK_OLDEST:
                raise ImportError(f"msgpack {msgpack.version} is too old")
        except ImportError:
            from consulops_pure import msgpack  # only in the bundle: the host's msgpack, in C, is ten times as fast
    except ImportError:
        msgpack = None
        MSGPACK_IMPORT_ERROR = traceback.format_exc()
    else:
        MSGPACK_IMPORT_ERROR = None


def require(*names: str) -> None:
    """Raise MissingLibrary for the first of the named libraries that cannot be imported.

    Names are those of the package index: ``requests``, ``python-consul2``, ``msgpack``.
    """
    found = {
        "requests": globals().get("REQUESTS_IMPORT_ERROR"),
        "python-consul2": globals().get("CONSUL_IMPORT_ERROR"),
        "msgpack": globals().get("MSGPACK_IMPORT_ERROR"),
    }
    for name in names:
        details = found[name]
        if details:
            raise MissingLibrary(name, details)


def installed_library() -> str:
    """Return which distribution the package ``consul`` comes from, for example ``python-consul 1.1.0``."""
    found = []
    for name in ("python-consul2", "py-consul", "python-consul"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return " and ".join(found) or f"the package in {getattr(consul, '__path__', ['an unknown place'])[0]}"
