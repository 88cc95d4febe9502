# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded import of pyrage, which only encrypted snapshots need: the Python interface of rage, an implementation of age.

A missing library becomes MissingLibrary when something is to be encrypted or decrypted, never a traceback at import.
"""

from __future__ import annotations

import traceback
import typing as t

from ..._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    import pyrage

    DecryptError: type[Exception]
    EncryptError: type[Exception]
    IdentityError: type[Exception]
    RecipientError: type[Exception]
    IMPORT_ERROR: str | None
else:
    try:
        import pyrage
        from pyrage import DecryptError, EncryptError, IdentityError, RecipientError
    except ImportError:
        pyrage = None
        DecryptError = EncryptError = IdentityError = RecipientError = type("AgeError", (Exception,), {})
        IMPORT_ERROR = traceback.format_exc()
    else:
        IMPORT_ERROR = None


def require_pyrage() -> None:
    """Raise MissingLibrary if pyrage cannot be imported."""
    if IMPORT_ERROR:
        raise MissingLibrary("pyrage", IMPORT_ERROR)


__all__ = ["DecryptError", "EncryptError", "IdentityError", "RecipientError", "pyrage", "require_pyrage"]
