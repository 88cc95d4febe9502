# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command-line arguments built from a module's spec, and the module's options taken from parsed arguments."""

from __future__ import annotations

import argparse
import typing as t

from .._config.validation import Spec
from .._consul.units import positive_seconds

STORE_PREFIX = "store_"

# The help text of each option; the documentation of the modules has the details.
HELP = {
    "url": "address of Consul: host:port, http(s)://... or unix:///path",
    "datacenter": "the datacenter, by default that of the Consul agent",
    "token_file": "file with the ACL token",
    "ca_path": "PEM file, or directory of PEM files, with the trusted certificate authorities",
    "client_cert": "file with the client certificate, PEM",
    "client_key": "file with the key of the client certificate, PEM",
    "tls_server_name": "name that the server's certificate must have",
    "validate_certs": "verify the server's certificate",
    "namespace": "Consul Enterprise namespace",
    "partition": "Consul Enterprise partition",
    "timeout": "seconds to wait for a connection, and for each part of a response",
    "name": "file name in a directory; {datacenter}, {time} and {index} are filled in",
    "max_age": "save only if the newest snapshot is older, for example 1h",
    "stale": "let any server answer, even without a leader",
    "cross_check": "action if the snapshot and the live API differ",
    "on_shrink": "action if the snapshot is much smaller than the previous one",
    "max_shrink_percent": "how many percent smaller is allowed",
    "stream_timeout": "abort a transfer after so many seconds without data",
    "force": "restore even if this snapshot was restored before",
    "accept": "override this guard; may be repeated",
    "safety_path": "directory for the safety snapshot or the undo file",
    "leader_timeout": "seconds to wait for a leader after the restore",
    "destroy_gone_sessions": "destroy sessions of nodes that no longer exist",
    "touch_replicated": "rewrite what secondary datacenters replicate, so that they notice it",
    "prefix": "restore only keys below this prefix; may be repeated",
    "prune": "with --prefix: delete keys that are not in the snapshot",
    "plan_digest": "restore only what the plan of this digest restores; --check --json shows it",
    "limit": "maximum number of records to list",
    "kv_depth": "number of prefix levels to count, 0 for none",
    "kv_prefix": "count only below this prefix",
    "key": "show this key",
    "show_value": "with --key: show its value",
    "restorable_in": "say whether servers of this version would load it, for example 1.19; may be repeated",
    "verify": "read every snapshot completely and compare it with its manifest",
    "recipients": "encrypt for this public key of age or SSH; may be repeated",
    "passphrase_file": "file with the passphrase to encrypt or decrypt with",
    "identity_file": "file with the age identities or SSH key to decrypt with",
    "at": "from a store, the newest snapshot, or the newest of this time or before: latest, or for example 2026-11-22T03:00:00Z",
    "scratch_path": "directory for the private copy of a snapshot that is fetched or sent",
    "consul_binary": "the Consul to restore into: its path, or its name in PATH",
    "memory_limit": "end the rehearsal when its Consul has more memory, for example 512M or 4G",
    "time_limit": "end the rehearsal after this time, for example 30m",
    "store_region": "region of an S3 bucket",
    "store_endpoint": "address of a store that is not the provider's own, for example https://store.example:9000",
    "store_account": "storage account of an az:// store",
    "store_credentials_file": "file with the credentials of the store, by default those of the environment or platform",
    "store_profile": "section of the credentials file",
    "store_path_style": "name an S3 bucket in the path and not in the host; the default with an endpoint",
    "store_ca_file": "PEM file with further trusted certificate authorities of the store",
    "store_server_side_encryption": "how S3 encrypts objects",
    "store_kms_key_id": "key with which S3 encrypts objects",
    "store_storage_class": "storage class of new objects",
    "store_object_lock_mode": "set a retention with S3's Object Lock in this mode",
    "store_object_lock_days": "days of that retention",
    "store_timeout": "seconds of silence after which a store is given up",
    "keep_last": "keep so many of the newest snapshots; -1 keeps all, here and below",
    **{
        f"keep_{period}": f"keep the newest snapshot of so many {unit}"
        for period, unit in (
            ("hourly", "hours"),
            ("daily", "days"),
            ("weekly", "weeks"),
            ("monthly", "months"),
            ("yearly", "years"),
        )
    },
    "keep_within": "keep all that are younger than this before the newest one, as restic writes it: 1y6m14d12h, m for months",
    **{
        f"keep_within_{period}": f"the same, but only one of each {unit}"
        for period, unit in (
            ("hourly", "hour"),
            ("daily", "day"),
            ("weekly", "week"),
            ("monthly", "month"),
            ("yearly", "year"),
        )
    },
    "timezone": "time zone of days, weeks, months and years, for example Europe/Berlin",
    "delete": "which keys to delete in the destination",
    "max_deletes": "maximum number of deletes per run",
    "max_delete_percent": "maximum number of deletes in percent of the destination's keys",
    "allow_empty_source": "accept an empty source",
    "on_conflict": "which side wins if a key of the destination was changed by others",
    "skip_locked": "skip keys that are locked by a session",
    "adopt": "manage existing keys that are equal",
    "consistency": "consistency mode for reading the source",
    "max_stale": "maximum age of a stale read",
    "verify_digest": "read and compare both sides again after the run",
    "batch_ops": "operations per transaction, or auto",
    "concurrency": "number of concurrent requests",
    "lock_wait": "seconds to wait for another run with the same destination",
    "retry_timeout": "seconds to retry while Consul elects a leader",
    "diff_values": "show values instead of digests",
    "datacenters": "check this datacenter; may be repeated",
    "snapshots": "directory of snapshots whose age and integrity are checked too",
    "upgrade_to": "say whether servers of this version would load the newest snapshot of the directory; may be repeated",
    "deadline": "seconds within which everything is asked; what is not answered then is unknown",
    "fail_on": "fail from this severity on",
    "wait": "seconds to wait until there are no findings",
    "confirm": "name of the datacenter that is written to; without it nothing is",
    "history": "file to write the history to, which must not exist",
    "duration": "how long the clients run, for example 30s or 10m",
    "workload": "what the clients do, with commas between: register, set, lock",
    "clients": "number of clients, which take turns with the workloads",
    "rate": "operations a second of all clients together",
    "gaps": "whether the pauses between the operations of a client are random or all the same",
    "keys": "number of keys of the workload register",
    "settle": "how long servers may take to catch up before their copies are read at the end",
    "seed": "number from which the operations and their times are made; by default a random one, which the result shows",
    "snapshot_path": "directory for a snapshot that is taken before a drill, and one after it if that is restored",
    "max_targets": "how many hosts one fault may strike",
    "allow_quorum_loss": "let a fault take away more servers than the datacenter can lose",
    "stop_after_outage": "end the drill and heal when no change was acknowledged for so long, for example 30s",
    "data_path": "directory of Consul's data on the hosts, for drills that break disks",
    "window": "refuse the drill outside of this time of the day in UTC, for example 22:00-05:30",
    "alert_listen": "address and port where a drill listens, as a webhook of the alerting agent",
    "replica_prefix": "folder to which the keys are copied, if it is another one",
    "query": "name of a prepared query that clients look up while the drill runs",
    "stable_for": "seconds without findings that are needed to pass",
    "max_steps": "steps of the search for each key, after which its verdict is unknown",
    "publish": "write the outcome to Consul, for the rules drill_failed and drill_overdue",
    "report": "write the report to this file too, as HTML",
    "junit": "write the verdicts to this file too, as JUnit XML",
}


def add_options(
    parser: argparse.ArgumentParser,
    spec: Spec,
    leave_out: t.Iterable[str] = (),
    own_help: t.Mapping[str, str] | None = None,
) -> None:
    """Add an argument for every option of the spec, except dictionaries, secrets and the names in ``leave_out``.

    ``own_help`` has the help texts of options that mean something else for this command.
    """
    left_out = set(leave_out)
    texts = {**HELP, **(own_help or {})}
    for name, rules in spec.items():
        if name not in left_out and can_be_argument(rules):
            parser.add_argument(_flag(name), dest=name, help=texts.get(name), **_argument(rules))


def given_options(options: argparse.Namespace, spec: Spec) -> dict[str, t.Any]:
    """Return the options of the spec that were given on the command line."""
    return {name: vars(options)[name] for name in spec if vars(options).get(name) is not None}


def add_store_options(parser: argparse.ArgumentParser, store_spec: Spec) -> None:
    """Add an argument ``--store-NAME`` for every option of a store."""
    add_options(parser, {f"{STORE_PREFIX}{name}": rules for name, rules in store_spec.items()})


def given_store_options(options: argparse.Namespace) -> dict[str, t.Any]:
    """Return the option ``store`` with what was given on the command line, nothing without any."""
    given = {
        name[len(STORE_PREFIX) :]: value
        for name, value in vars(options).items()
        if name.startswith(STORE_PREFIX) and value is not None
    }
    return {"store": given} if given else {}


def can_be_argument(rules: t.Mapping[str, t.Any]) -> bool:
    """Return whether an option can be a command-line argument: dictionaries, values of several types and secrets cannot."""
    type_name = rules.get("elements") if rules.get("type") == "list" else rules.get("type")
    return type_name not in ("dict", "raw") and not rules.get("no_log")


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    return positive_seconds(float(text), "seconds")


def file_name(text: str) -> str:
    """Return a file name, for argparse. An empty one is refused: it usually comes from an unset shell variable."""
    if not text:
        raise argparse.ArgumentTypeError("the file name is empty")
    return text


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _argument(rules: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    type_name = rules.get("type", "str")
    if type_name == "bool":
        return {"action": argparse.BooleanOptionalAction}
    choices = rules.get("choices")
    common: dict[str, t.Any] = {"choices": choices} if choices else {"metavar": "VALUE"}
    if type_name == "list":
        return {**common, "action": "append"}
    return {**common, "type": {"int": int, "float": float}.get(type_name, str)}
