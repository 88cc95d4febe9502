# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert import-consul-alerts``: reads the keys of consul-alerts and writes a configuration of the alerting agent."""

from __future__ import annotations

import argparse
import os
import typing as t

from ..._config import credentials
from ..._config.connection_spec import ONE_TOKEN, connection_spec
from ..._config.validation import validated
from ..._consul import endpoint, kv
from ..._consul.client import Client
from ..._consul.errors import InvalidOption
from .. import arguments
from .base import Outcome
from .imported_files import ImportedFiles, add_output_arguments, secrets_directory, write_imported

DEFAULT_SECRETS_DIRECTORY = "/etc/consulops/alerting"

HELP = "make a configuration of the alerting agent from the keys of consul-alerts, which stay as they are"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--prefix", default="consul-alerts", help="where the keys of consul-alerts are")
    add_output_arguments(parser, "the keys hold")
    arguments.add_options(parser, connection_spec())


def run(options: argparse.Namespace) -> Outcome:
    """Read, translate and write. Notes go to standard error. Raises an Error."""
    from ..._agents.alerting.config import make_alerting_config
    from ..._agents.alerting.import_consul_alerts import import_tree
    from ..._agents.alerting.receivers.registry import RECEIVERS

    connection = arguments.given_options(options, connection_spec())
    directory = secrets_directory(options, DEFAULT_SECRETS_DIRECTORY)
    imported = import_tree(_read(connection, options.prefix), directory, options.prefix)
    configuration = {**imported.configuration, **({"connection": connection} if connection else {})}
    make_alerting_config(configuration["options"], RECEIVERS)
    return write_imported(options, ImportedFiles(configuration, imported.secrets, imported.notes), directory)


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
