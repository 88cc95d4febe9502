# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded import of obstore, which only object stores need: S3, Google Cloud Storage and Azure Blob Storage in one library.

A missing library becomes MissingLibrary when an object store is opened, never a traceback at import.
"""

from __future__ import annotations

import traceback
import typing as t

from ..._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import AzureStore, GCSStore, S3Store

    IMPORT_ERROR: str | None
else:
    try:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError:
        obstore = AzureStore = GCSStore = S3Store = None
        AlreadyExistsError = BaseError = PermissionDeniedError = UnauthenticatedError = type(
            "StoreError", (Exception,), {}
        )
        IMPORT_ERROR = traceback.format_exc()
    else:
        IMPORT_ERROR = None


def require_obstore() -> None:
    """Raise MissingLibrary if obstore cannot be imported."""
    if IMPORT_ERROR:
        raise MissingLibrary("obstore", IMPORT_ERROR)


__all__ = [
    "AlreadyExistsError",
    "AzureStore",
    "BaseError",
    "GCSStore",
    "PermissionDeniedError",
    "S3Store",
    "UnauthenticatedError",
    "obstore",
    "require_obstore",
]
