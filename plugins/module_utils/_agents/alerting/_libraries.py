# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guarded import of Jinja2, which templates need: only in the agents' bundle, and where the tests run."""

from __future__ import annotations

import traceback
import typing as t

from ..._consul.errors import MissingLibrary

if t.TYPE_CHECKING:
    import jinja2
    import jinja2.nodes
    import jinja2.sandbox

    ImmutableSandboxedEnvironment = jinja2.sandbox.ImmutableSandboxedEnvironment
    IMPORT_ERROR: str | None
else:
    try:
        import jinja2
        import jinja2.nodes
        import jinja2.sandbox

        ImmutableSandboxedEnvironment = jinja2.sandbox.ImmutableSandboxedEnvironment
    except ImportError:
        jinja2 = None
        ImmutableSandboxedEnvironment = object
        IMPORT_ERROR = traceback.format_exc()
    else:
        IMPORT_ERROR = None


def require_jinja2() -> None:
    """Raise MissingLibrary if Jinja2 cannot be imported."""
    if IMPORT_ERROR:
        raise MissingLibrary("Jinja2", IMPORT_ERROR)
