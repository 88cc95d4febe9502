# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded import of python-hcl2, which reads another program's configuration in HCL."""

from __future__ import annotations

import traceback
import typing as t

from .._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    import hcl2
    from lark.exceptions import LarkError

    HCL2_IMPORT_ERROR: str | None
else:
    try:
        import hcl2
        from lark.exceptions import LarkError
    except ImportError:
        hcl2 = None
        LarkError = ValueError
        HCL2_IMPORT_ERROR = traceback.format_exc()
    else:
        HCL2_IMPORT_ERROR = None


def require_hcl2() -> None:
    """Raise MissingLibrary if python-hcl2 cannot be imported."""
    if HCL2_IMPORT_ERROR:
        raise MissingLibrary("python-hcl2", HCL2_IMPORT_ERROR)


__all__ = ["LarkError", "hcl2", "require_hcl2"]
