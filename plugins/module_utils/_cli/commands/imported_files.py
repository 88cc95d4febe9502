# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an import writes: a configuration, secrets in files of their own, and notes on standard error."""

from __future__ import annotations

import argparse
import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..._config.import_notes import Note
from ..._consul.errors import GuardRefused, InvalidOption
from ..._consul.private_file import PrivateFile, os_errors_as
from ..._consul.units import count_of
from .. import arguments
from .base import Outcome, Result, print_message


@dataclass(frozen=True)
class ImportedFiles:
    """What an import made: the configuration, the secrets by the names of their files (None: not usable), and notes."""

    configuration: t.Mapping[str, t.Any]
    secrets: t.Mapping[str, str | None]
    notes: t.Sequence[Note]


def add_output_arguments(parser: argparse.ArgumentParser, secrets_from: str) -> None:
    """Add --output and --secrets-dir. ``secrets_from`` says what holds the secrets, for the help."""
    parser.add_argument(
        "--output", metavar="FILE", type=arguments.file_name, help="write the configuration to this file"
    )
    parser.add_argument(
        "--secrets-dir",
        metavar="DIRECTORY",
        type=arguments.file_name,
        help=f"write the secrets that {secrets_from} to files in this directory; without it their names are listed only",
    )


def secrets_directory(options: argparse.Namespace, default: str) -> str:
    """Return the directory that the configuration names for secrets. Raises InvalidOption."""
    if options.secrets_dir is not None:
        directory = Path(options.secrets_dir).absolute()
    elif options.output:
        directory = Path(options.output).absolute().parent
    else:
        directory = Path(default)
    if set(str(directory)) & set("$\0") or not str(directory).isprintable():
        raise InvalidOption(f"the directory {str(directory)!r} cannot be named in a configuration: choose another one.")
    return str(directory)


def write_imported(options: argparse.Namespace, imported: ImportedFiles, directory: str) -> Outcome:
    """Write what the arguments ask for, print the notes, and return the outcome. Raises an Error before anything is written."""
    text = json.dumps(imported.configuration, indent=2) + "\n"
    files: dict[Path, str] = {}
    if options.secrets_dir is not None:
        files = {Path(directory, name): f"{one}\n" for name, one in imported.secrets.items() if one is not None}
    secret_files = [str(Path(directory, name)) for name in imported.secrets]
    outputs = {**files, **({Path(options.output): text} if options.output else {})}
    _write(outputs, Path(directory) if files else None)
    missing = [path for path in secret_files if Path(path) not in files]
    for note in imported.notes:
        print_message(f"consulops: {note}")
    if missing:
        advice = "write each secret as one line, mode 0600" + (
            "" if files else ", or run this again with --secrets-dir"
        )
        print_message(
            f"consulops: the configuration names files that this run has not written: {', '.join(missing)}: {advice}."
        )
    result: Result = {
        "configuration": imported.configuration,
        "notes": [{"kind": note.kind, "keys": list(note.keys), "sentence": note.sentence} for note in imported.notes],
        "secret_files": secret_files,
        "missing_secret_files": missing,
    }
    return Outcome(result, _lines(options, text, files))


def _lines(options: argparse.Namespace, text: str, files: t.Collection[Path]) -> list[str]:
    if not options.output:
        return text.splitlines()
    secrets = [f"written: {count_of(len(files), 'secret')} into files of {options.secrets_dir}"] if files else []
    return [f"written: {options.output}", *secrets]


def _write(files: t.Mapping[Path, str], directory: Path | None) -> None:
    """Write files with mode 0600. Raises GuardRefused if one exists with another content, before anything is written."""
    for path, text in files.items():
        with os_errors_as(f"reading {path}"):
            if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
                raise GuardRefused(
                    f"{path} exists and is different: remove it, or choose another name. Nothing was written."
                )
    if directory is not None:
        with os_errors_as(f"creating {directory}"):
            directory.mkdir(mode=0o700, exist_ok=True)
    for path, text in files.items():
        with PrivateFile(path.parent) as file:
            file.write(text.encode())
            file.commit(path)
