# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens the store that a URL names."""

from __future__ import annotations

import re
from pathlib import Path

from ..._consul.errors import InvalidOption
from ..._consul.private_file import os_errors_as
from .local_directory import LocalDirectory
from .store import Store, StoreOptions

SCHEMES = ("s3", "gs", "az")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def is_store_url(text: str) -> bool:
    """Return whether a text names an object store and not a path. Raises InvalidOption for a URL of another kind."""
    found = _URL.match(text)
    if found is None:
        return False
    if found[1] not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidOption(f"{found[0]} is no kind of store that is known here: a directory, {known}.")
    return True


def open_store(options: StoreOptions) -> Store:
    """Return the store of a URL, or of a directory that exists. No request is sent yet.

    Raises InvalidOption, LocalFailure for a directory that cannot be looked at, and MissingLibrary when an object store needs a
    library that is not installed.
    """
    if not is_store_url(options.url):
        directory = Path(options.url)
        with os_errors_as(
            f"opening the directory {directory}"
        ):  # its parent may not be entered, or its file system is gone
            is_there = directory.is_dir()
        if not is_there:
            raise InvalidOption(f"The directory {directory} does not exist: create it (mode 0700) or correct the path.")
        return LocalDirectory(directory)
    from .object_store import open_object_store  # imports obstore, which only object stores need

    return open_object_store(options)
