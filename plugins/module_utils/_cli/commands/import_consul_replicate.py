# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops replicate import-config``: reads a configuration of consul-replicate and writes one of the replication agent."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..._config.hcl_file import read_hcl_or_json
from ..._consul.errors import InvalidOption
from ..._consul.private_file import os_errors_as
from .base import Outcome
from .imported_files import ImportedFiles, add_output_arguments, secrets_directory, write_imported

DEFAULT_SECRETS_DIRECTORY = "/etc/consulops/replication"

HELP = "make a configuration of the replication agent from one of consul-replicate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="file in HCL or JSON, or a directory of such files; later ones win"
    )
    add_output_arguments(parser, "the files hold")


def run(options: argparse.Namespace) -> Outcome:
    """Read, translate and write. Notes go to standard error. Raises an Error."""
    from ..._agents.replication.config import make_sets
    from ..._agents.replication.import_consul_replicate import import_documents

    directory = secrets_directory(options, DEFAULT_SECRETS_DIRECTORY)
    documents = [read_hcl_or_json(file) for path in options.paths for file in _files(path)]
    imported = import_documents(documents, directory)
    make_sets(imported.configuration["options"], {}, {})  # refuses, for example, prefixes that write to the same keys
    return write_imported(options, ImportedFiles(imported.configuration, imported.secrets, imported.notes), directory)


def _files(path: str) -> list[str]:
    """Return the files of a directory and those below it, as consul-replicate reads them, or the file itself."""
    with os_errors_as(f"reading {path}"):
        if not Path(path).is_dir():
            return [path]
        found = [str(Path(folder, name)) for folder, _folders, names in os.walk(path) for name in names]
    if not found:
        raise InvalidOption(f"{path}: there is no file in this directory.")
    return sorted(found)
