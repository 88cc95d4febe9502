# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command-line arguments made from a module's spec, and the module's options made from what was given."""

from __future__ import annotations

import argparse
import typing as t

from .._config.validation import Spec
from .._consul.units import positive_seconds

# What an option says in --help; the documentation of the modules says more.
HELP = {
    "url": "how to reach Consul: host:port, http(s)://... or unix:///path",
    "datacenter": "the datacenter to ask, if it is not the agent's own",
    "token_file": "a file that holds the ACL token",
    "ca_path": "a PEM file, or a directory of them, with the authority to trust",
    "client_cert": "client certificate, PEM",
    "client_key": "its key, PEM",
    "tls_server_name": "the name that the server's certificate must have",
    "validate_certs": "check the server's certificate",
    "namespace": "Consul Enterprise namespace",
    "partition": "Consul Enterprise partition",
    "timeout": "seconds to wait for a connection, and for each piece of an answer",
    "name": "file name in a directory; {datacenter}, {time} and {index} are filled in",
    "max_age": "save only when the newest snapshot is older, for example 1h",
    "stale": "let any server answer, also without a leader",
    "cross_check": "what to do when the snapshot and the live lists disagree",
    "on_shrink": "what to do when the snapshot is much smaller than the last one",
    "max_shrink_percent": "how much smaller is too much",
    "stream_timeout": "seconds without any data after which a transfer is given up",
    "force": "restore although it was restored before",
    "accept": "go on in spite of this guard; may be repeated",
    "safety_path": "directory for the snapshot of the state before",
    "leader_timeout": "seconds to wait for a leader afterwards",
    "destroy_gone_sessions": "end sessions of nodes that are gone",
    "touch_replicated": "touch what secondaries replicate",
    "prefix": "restore only keys below this prefix; may be repeated",
    "prune": "with --prefix: delete keys that the snapshot does not have",
    "limit": "how many records are named",
    "kv_depth": "levels of key prefixes to count, 0 for none",
    "kv_prefix": "count only below this prefix",
    "key": "show this key",
    "show_value": "with --key: show its value",
    "verify": "read every snapshot whole and compare it with its manifest",
    "delete": "which keys to delete at the destination",
    "max_deletes": "most deletions of one run",
    "max_delete_percent": "most deletions in percent of the destination's keys",
    "allow_empty_source": "an empty source is meant",
    "on_conflict": "what wins when the destination was edited by hand",
    "skip_locked": "leave keys that a session holds",
    "adopt": "take equal keys over as ours",
    "consistency": "how to read the source",
    "max_stale": "how old a stale answer may be",
    "verify_digest": "read both sides again afterwards and compare",
    "batch_ops": "operations of one transaction, or auto",
    "concurrency": "requests at a time",
    "lock_wait": "seconds to wait for another run on the same destination",
    "retry_timeout": "seconds to try again while Consul elects a leader",
    "diff_values": "show values, not only their digests",
    "datacenters": "judge this datacenter too; may be repeated",
    "snapshots": "a directory whose newest snapshots are judged too",
    "fail_on": "close the gate at this severity",
    "wait": "seconds to wait until nothing is wrong",
    "stable_for": "seconds for which nothing must be wrong",
}


def add(parser: argparse.ArgumentParser, spec: Spec, leave_out: t.Iterable[str] = ()) -> None:
    """Add an argument for every option that a command line can hold; objects and secrets it cannot."""
    hidden = set(leave_out)
    for name, rules in spec.items():
        if name not in hidden and can_be_argument(rules):
            parser.add_argument(_flag(name), dest=name, help=HELP.get(name), **_how(rules))


def given(options: argparse.Namespace, spec: Spec) -> dict[str, t.Any]:
    """Return the options that were given, and only those."""
    return {name: vars(options)[name] for name in spec if vars(options).get(name) is not None}


def can_be_argument(rules: t.Mapping[str, t.Any]) -> bool:
    """Tell whether an option may stand in a command line."""
    kind = rules.get("elements") if rules.get("type") == "list" else rules.get("type")
    return kind not in ("dict", "raw") and not rules.get("no_log")


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    return positive_seconds(float(text), "seconds")


def named(text: str) -> str:
    """Return the name of a file that is given, for argparse: an unset variable of a shell is none."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty, and names no file")
    return text


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _how(rules: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    kind = rules.get("type", "str")
    if kind == "bool":
        return {"action": argparse.BooleanOptionalAction}
    choices = rules.get("choices")
    how: dict[str, t.Any] = {"choices": choices} if choices else {"metavar": "VALUE"}
    if kind == "list":
        return {**how, "action": "append"}
    return {**how, "type": {"int": int, "float": float}.get(kind, str)}
