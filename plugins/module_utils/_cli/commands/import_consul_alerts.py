# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert import-consul-alerts``: reads the keys of consul-alerts and writes a configuration of the alerting agent."""

from __future__ import annotations

import argparse
import json
import os
import typing as t
from pathlib import Path

from ..._config import credentials
from ..._config.connection_spec import ONE_TOKEN, connection_spec
from ..._config.validation import validated
from ..._consul import endpoint, kv
from ..._consul.client import Client
from ..._consul.errors import GuardRefused, InvalidOption
from ..._consul.private_file import PrivateFile, os_errors_as
from ..._consul.units import count_of
from .. import arguments
from .base import Outcome, Result, print_message

DEFAULT_SECRETS_DIRECTORY = "/etc/consulops/alerting"

HELP = "make a configuration of the alerting agent from the keys of consul-alerts, which stay as they are"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--prefix", default="consul-alerts", help="where the keys of consul-alerts are")
    parser.add_argument(
        "--output", metavar="FILE", type=arguments.file_name, help="write the configuration to this file"
    )
    parser.add_argument(
        "--secrets-dir",
        metavar="DIRECTORY",
        type=arguments.file_name,
        help="write the secrets that the keys hold to files in this directory; without it their names are listed only",
    )
    arguments.add_options(parser, connection_spec())


def run(options: argparse.Namespace) -> Outcome:
    """Read, translate and write. Notes go to standard error. Raises an Error."""
    from ..._agents.alerting.config import make_alerting_config
    from ..._agents.alerting.import_consul_alerts import import_tree
    from ..._agents.alerting.receivers.registry import RECEIVERS

    connection = arguments.given_options(options, connection_spec())
    secrets_directory = _secrets_directory(options)
    imported = import_tree(_read(connection, options.prefix), secrets_directory, options.prefix)
    configuration = {**imported.configuration, **({"connection": connection} if connection else {})}
    make_alerting_config(configuration["options"], RECEIVERS)
    text = json.dumps(configuration, indent=2) + "\n"

    files: dict[Path, str] = {}
    if options.secrets_dir is not None:
        files = {Path(secrets_directory, name): f"{one}\n" for name, one in imported.secrets.items() if one is not None}
    secret_files = [str(Path(secrets_directory, name)) for name in imported.secrets]
    outputs = {**files, **({Path(options.output): text} if options.output else {})}
    _write(outputs, Path(secrets_directory) if files else None)
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
        "configuration": configuration,
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


def _secrets_directory(options: argparse.Namespace) -> str:
    if options.secrets_dir is not None:
        directory = Path(options.secrets_dir).absolute()
    elif options.output:
        directory = Path(options.output).absolute().parent
    else:
        directory = Path(DEFAULT_SECRETS_DIRECTORY)
    if set(str(directory)) & set("$\0") or not str(directory).isprintable():
        raise InvalidOption(f"the directory {str(directory)!r} cannot be named in a configuration: choose another one.")
    return str(directory)


def _read(connection: t.Mapping[str, t.Any], prefix: str) -> dict[str, bytes]:
    """Return all keys below the prefix, read with one request. Raises an Error."""
    place = prefix.strip("/")
    if not place:
        raise InvalidOption("--prefix is empty: name the prefix of consul-alerts, usually consul-alerts.")
    environ = credentials.with_credentials(os.environ)
    values = validated(connection_spec(), credentials.resolve_credentials(dict(connection), environ), "", [ONE_TOKEN])
    with Client(endpoint.resolve(values, environ)) as client:
        # A token without the right to these keys would see none.
        kv.check_readable(client, f"{place}/config/")
        entries = kv.read_shard(client, f"{place}/").entries
    if not entries:
        raise InvalidOption(f"there is no key below {place}/: is --prefix right, and is this its datacenter?")
    return {entry.key: entry.value for entry in entries}


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
