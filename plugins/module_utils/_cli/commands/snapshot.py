# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops snapshot``: what can be done with snapshots; the commands of the agent and its service are in other files."""

from __future__ import annotations

import argparse
import sys
import typing as t

from ..._consul.errors import GuardRefused, InvalidOption
from ..._tasks.salvage import SALVAGE
from ..._tasks.snapshot import SNAPSHOT
from ..._tasks.snapshot_info import SNAPSHOT_INFO
from ..._tasks.snapshot_prune import PRUNE
from ..._tasks.snapshot_rehearse import REHEARSE, rehearse_with_steps
from ..._tasks.snapshot_verify import VERIFY
from ..._tasks.store_options import STORE_OPTIONS
from ..._tasks.store_test import STORE_TEST
from ..._tasks.task import Task
from .. import arguments, exit_codes, rendering
from . import rehearsal_service, snapshot_agent
from .base import Command, Outcome, Result, add_check, add_exit_code, make_invocation, print_message


class Declined(GuardRefused):
    """The user was asked to confirm and did not."""


_SAVE_OPTIONS = ("name", "max_age", "stale", "cross_check", "on_shrink", "max_shrink_percent", "recipients")
_SOURCE_OPTIONS = ("at", "identity_file")
_BOTH_OPTIONS = ("passphrase_file", "scratch_path")
_RESTORE_OPTIONS = (
    "force",
    "accept",
    "safety_path",
    "leader_timeout",
    "destroy_gone_sessions",
    "touch_replicated",
    "prune",
    "plan_digest",
)
_SNAPSHOT_OPTIONS = {
    *_SAVE_OPTIONS,
    *_RESTORE_OPTIONS,
    *_SOURCE_OPTIONS,
    *_BOTH_OPTIONS,
    *("path", "state", "prefixes", "limit", "store"),
}


def _given(options: argparse.Namespace, task: Task) -> dict[str, t.Any]:
    """Return the options of a task that were given on the command line, those of a store included."""
    return {**arguments.given_options(options, task.spec), **arguments.given_store_options(options)}


def _save_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=arguments.file_name, help="a directory, the file to write, or a store: s3://, gs:// or az://"
    )
    add_check(parser)
    arguments.add_options(parser, SNAPSHOT.spec, _SNAPSHOT_OPTIONS - {*_SAVE_OPTIONS, *_BOTH_OPTIONS})
    arguments.add_store_options(parser, STORE_OPTIONS)


def _save(options: argparse.Namespace) -> Outcome:
    invocation = make_invocation(SNAPSHOT, _given(options, SNAPSHOT), check=options.check)
    result = SNAPSHOT.run(invocation)
    return Outcome(result, rendering.saved(result))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=arguments.file_name, help="a directory of snapshots, or a store: s3://, gs:// or az://"
    )
    arguments.add_options(parser, {"verify": SNAPSHOT_INFO.spec["verify"]})
    arguments.add_store_options(parser, STORE_OPTIONS)
    parser.add_argument("--exit-code", action="store_true", help="exit with 5 if a snapshot is broken")


def _list(options: argparse.Namespace) -> Outcome:
    result = SNAPSHOT_INFO.run(make_invocation(SNAPSHOT_INFO, _given(options, SNAPSHOT_INFO)))
    if "snapshots" not in result:
        raise InvalidOption(
            f"{options.path} is a snapshot, not a directory of snapshot files: use consulops snapshot inspect."
        )
    return Outcome(
        result, rendering.snapshot_list(result), different=any(entry["problem"] for entry in result["snapshots"])
    )


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=arguments.file_name, help="a snapshot file, in a store too, or a Raft snapshot on a server's disk"
    )
    arguments.add_options(
        parser,
        {
            name: SNAPSHOT_INFO.spec[name]
            for name in (
                *("kv_depth", "kv_prefix", "key", "show_value", "restorable_in", "limit", "datacenter"),
                *_SOURCE_OPTIONS,
                *_BOTH_OPTIONS,
            )
        },
    )
    arguments.add_store_options(parser, STORE_OPTIONS)
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help="with --restorable-in: exit with 5 if one of the versions cannot load it",
    )


def _inspect(options: argparse.Namespace) -> Outcome:
    result = SNAPSHOT_INFO.run(make_invocation(SNAPSHOT_INFO, _given(options, SNAPSHOT_INFO)))
    if "snapshot" not in result:
        raise InvalidOption(f"{options.path} is a directory: use consulops snapshot list.")
    unloadable = any(not check["restorable"] for check in result.get("restorable_in", ()))
    return Outcome(result, rendering.inspected(result), different=unloadable)


def _salvage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=arguments.file_name, help="DATA_DIR/raft/snapshots of a server, or one of its directories"
    )
    parser.add_argument("destination", type=arguments.file_name, help="the file to write, or a directory for it")


def _salvage(options: argparse.Namespace) -> Outcome:
    result = SALVAGE.run(make_invocation(SALVAGE, arguments.given_options(options, SALVAGE.spec)))
    return Outcome(result, rendering.salvaged(result))


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="a snapshot file, in a store too")
    parser.add_argument("compare_with", nargs="?", help="another snapshot file; by default the live state")
    add_exit_code(parser)
    left_out = {
        "path",
        "compare_with",
        "compare_live",
        "kv_depth",
        "kv_prefix",
        "key",
        "show_value",
        "verify",
        "restorable_in",
        "store",
    }
    arguments.add_options(parser, SNAPSHOT_INFO.spec, left_out)
    arguments.add_store_options(parser, STORE_OPTIONS)


def _diff(options: argparse.Namespace) -> Outcome:
    params = {"kv_depth": 0, **_given(options, SNAPSHOT_INFO)}
    result = SNAPSHOT_INFO.run(
        make_invocation(SNAPSHOT_INFO, {**params, "compare_live": params.get("compare_with") is None})
    )
    return Outcome(result, rendering.compared(result), different=not result["comparison"]["equal"])


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="the snapshot to restore, or a store with --at")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    add_check(parser)
    parser.add_argument("--prefix", dest="prefixes", action="append", metavar="PREFIX", help=arguments.HELP["prefix"])
    arguments.add_options(
        parser, SNAPSHOT.spec, _SNAPSHOT_OPTIONS - {*_RESTORE_OPTIONS, *_SOURCE_OPTIONS, *_BOTH_OPTIONS, "limit"}
    )
    arguments.add_store_options(parser, STORE_OPTIONS)


def _restore(options: argparse.Namespace) -> Outcome:
    params = {**_given(options, SNAPSHOT), "state": "restored"}
    if not (options.check or options.yes) and not (sys.stdin and sys.stdin.isatty()):
        raise InvalidOption(
            "A restore asks for confirmation, and standard input is not a terminal: review with --check, then give --yes."
        )
    if not options.yes:
        plan = SNAPSHOT.run(make_invocation(SNAPSHOT, params, check=True))
        if options.check or not plan["changed"]:
            return Outcome(plan, rendering.restored(plan))
        _confirm(plan)
        params.setdefault("plan_digest", plan["plan_digest"])
    result = SNAPSHOT.run(make_invocation(SNAPSHOT, params))
    return Outcome(result, rendering.restored(result))


def _confirm(plan: Result) -> None:
    """Show what a restore would undo, and wait until the user types the datacenter's name. Raises Declined."""
    for line in rendering.restored(plan):
        print_message(line)
    expected = plan.get("datacenter") or "yes"
    way_back = "undo file" if "prefixes" in plan else "safety snapshot"
    print_message(f"Only the {way_back} can undo this. Type {expected!r} to continue: ", end="")
    if sys.stdin.readline().strip() != expected:
        raise Declined("the restore was not confirmed, nothing was changed.")


def _test_store_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="the store: s3://, gs://, az://, or a directory")
    arguments.add_store_options(parser, STORE_OPTIONS)


def _test_store(options: argparse.Namespace) -> Outcome:
    result = STORE_TEST.run(make_invocation(STORE_TEST, _given(options, STORE_TEST)))
    return Outcome(result, rendering.store_tested(result))


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="a directory, s3://BUCKET/PREFIX, gs://… or az://…")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and why the others stay")
    arguments.add_options(parser, PRUNE.spec, {"path", "store"})
    arguments.add_store_options(parser, STORE_OPTIONS)


def _prune(options: argparse.Namespace) -> Outcome:
    result = PRUNE.run(make_invocation(PRUNE, _given(options, PRUNE), check=options.dry_run))
    return Outcome(result, rendering.pruned(result, dry_run=options.dry_run))


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=arguments.file_name, help="a snapshot, a directory of them, or a store: s3://, gs:// or az://"
    )
    parser.add_argument("--all", action="store_true", default=None, help="verify every snapshot, not only the newest")
    arguments.add_options(parser, VERIFY.spec, {"path", "all", "store"})
    arguments.add_store_options(parser, STORE_OPTIONS)


def _verify(options: argparse.Namespace) -> Outcome:
    result = VERIFY.run(make_invocation(VERIFY, _given(options, VERIFY)))
    is_broken = any(one["state"] == "broken" for one in result["snapshots"])
    return Outcome(result, rendering.verified(result), code=exit_codes.DIFFERENT if is_broken else 0)


def _rehearse_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.file_name, help="the snapshot to rehearse, or a store with --at")
    add_check(parser)
    arguments.add_options(parser, REHEARSE.spec, {"path", "store"})
    arguments.add_store_options(parser, STORE_OPTIONS)


def _rehearse(options: argparse.Namespace) -> Outcome:
    invocation = make_invocation(REHEARSE, _given(options, REHEARSE), check=options.check)
    result = rehearse_with_steps(invocation, _print_step)
    return Outcome(result, rendering.rehearsed(result))


def _print_step(doing: str) -> None:
    print_message(f"consulops: {doing}")


COMMANDS = (
    Command("save", "save a snapshot", _save, _save_arguments, rendering.saved),
    Command("list", "list the snapshots of a directory or store", _list, _list_arguments),
    Command("inspect", "show the contents of a snapshot", _inspect, _inspect_arguments),
    Command("salvage", "make a snapshot file of what a dead server has on its disk", _salvage, _salvage_arguments),
    Command("diff", "compare a snapshot with another or with the live state", _diff, _diff_arguments),
    Command(
        "restore",
        "restore a snapshot, or keys from it, after confirmation",
        _restore,
        _restore_arguments,
        rendering.restored,
    ),
    Command(
        "test-store",
        "test whether a store can be written, listed, read and deleted from",
        _test_store,
        _test_store_arguments,
        rendering.store_tested,
    ),
    Command(
        "verify",
        "fetch, decrypt and decode snapshots, and compare them with their manifests; exit with 5 if one is broken",
        _verify,
        _verify_arguments,
    ),
    Command(
        "rehearse",
        "restore a snapshot into a throw-away Consul that can reach nothing, and compare",
        _rehearse,
        _rehearse_arguments,
        rendering.rehearsed,
    ),
    Command("prune", "delete the snapshots that a retention does not keep", _prune, _prune_arguments),
    rehearsal_service.COMMAND,
    *snapshot_agent.COMMANDS,
)
