# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports libraries that only one receiver needs and that the collection does not bring along."""

from __future__ import annotations

import importlib
import typing as t

from ...._consul.errors import InvalidOption


def optional_library(name: str, package: str, where: str) -> t.Any:
    """Return an imported module; ``package`` is its name in the package index. Raises InvalidOption that begins with ``where``."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InvalidOption(
            f"{where}: this type needs the Python library {package} on the host where the agent runs, and it cannot be imported "
            f"({error}). Install it for the interpreter in use, for example: python3 -m pip install {package}"
        ) from None
