# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts a planned fault on this host and heals it, with systemd, nft and files below /run. A timer that heals it is armed first."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ..._consul.errors import GuardRefused, LocalFailure
from ..._consul.units import human_bytes
from . import disk_fault, fault_plan
from .fault_plan import Controller, Fault
from .fault_step import Step

COMMAND_TIMEOUT_S = 150.0  # systemd waits 90 seconds for a unit that does not stop
TAKE_EFFECT_S = 10.0
POLL_S = 0.05
WRITE_S = 2.0
# A file without a name is written: nothing is left of it, whenever this ends.
WRITE = "import os, sys; file = os.open(sys.argv[1], os.O_TMPFILE | os.O_WRONLY); os.write(file, bytes(4096)); os.fsync(file)"
RUNNING = ("active", "activating", "reloading")


def find_controller() -> Controller | None:
    """Return where the SSH connection that runs this comes from, also below sudo; None if there is none."""
    pid = os.getpid()
    while pid > 1:
        with contextlib.suppress(OSError):
            for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                words = item.decode(errors="replace").partition("SSH_CONNECTION=")
                if not words[0] and len(words[2].split()) == 4:
                    address, _port, _own, ssh_port = words[2].split()
                    return Controller(str(ipaddress.ip_address(address.partition("%")[0])), int(ssh_port))
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            return None
    return None


def present_fault() -> Fault | None:
    """Return the fault whose marker is on this host. Raises LocalFailure if the marker cannot be read."""
    try:
        return Fault.from_json(Path(fault_plan.MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LocalFailure(f"The marker {fault_plan.MARKER} of a fault cannot be read: {error}.") from error


def is_armed() -> bool:
    """Return whether the timer that heals is active."""
    return _property(f"{fault_plan.TIMER}.timer", "ActiveState") == "active"


def check_nothing_is_left() -> None:
    """Raise GuardRefused if there is a timer, a packet filter or a unit of a drill without its marker."""
    if _property(f"{fault_plan.TIMER}.timer", "ActiveState") != "inactive":
        raise GuardRefused(
            f"The timer {fault_plan.TIMER}.timer is there without a fault: stop it first; nothing was changed."
        )
    if has_table():
        raise GuardRefused(
            f"There is a table {fault_plan.TABLE} of nft without a fault: look at it, and delete it with "
            f"nft delete table inet {fault_plan.TABLE}; nothing was changed."
        )
    if _property(disk_fault.UNIT, "ActiveState") != "inactive":
        raise GuardRefused(
            f"The unit {disk_fault.UNIT}, which fills or freezes a file system, is there without a fault: look at it, and "
            "stop it; nothing was changed."
        )


def check_possible(fault: Fault, controller: Controller | None, allow_shared: bool = False) -> None:
    """Raise GuardRefused if the fault cannot be put on this host, would cut it off from the controller or keep it from healing.

    ``allow_shared`` lets a file system be filled that the host uses for more than ``fault.path``.
    """
    if os.geteuid() != 0:
        raise GuardRefused("A fault needs root on the host: use become; nothing was changed.")
    if not Path("/run/systemd/system").is_dir():
        raise GuardRefused("This host does not run systemd, which heals the fault: nothing was changed.")
    if fault.path:
        _check_file_system(fault, allow_shared)
        return
    if fault.fault == "isolated":
        if shutil.which("nft") is None:
            raise GuardRefused(
                "The program nft is not on this host: install the package nftables; nothing was changed."
            )
        if controller is not None and controller.address in fault.peers:
            raise GuardRefused(
                f"The peer {controller.address} is the controller, which is never cut; nothing was changed."
            )
        return
    if _property(fault.unit, "LoadState") != "loaded":
        raise GuardRefused(f"There is no unit {fault.unit} on this host; nothing was changed.")
    state = _property(fault.unit, "ActiveState")
    if state != "active":
        raise GuardRefused(
            f"The unit {fault.unit} is {state}, and only an active one can be {fault.fault}; nothing was changed."
        )
    if fault.fault == "paused" and stopped_processes(fault.unit):
        raise GuardRefused(f"Processes of {fault.unit} are stopped already; nothing was changed.")


def _check_file_system(fault: Fault, allow_shared: bool) -> None:
    path = fault.path
    if not Path(path).is_dir():
        raise GuardRefused(f"There is no directory {path} on this host; nothing was changed.")
    real = os.path.realpath(path)
    if real != path:
        raise GuardRefused(f"{path} is reached by a symbolic link: use {real}; nothing was changed.")
    needed = {name: os.path.realpath(name) for name in disk_fault.HOST_DIRECTORIES}
    needed.update({"Ansible's module": os.path.realpath(__file__), "Python": os.path.realpath(sys.executable)})
    try:
        mounts = disk_fault.parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
        space = os.statvfs(path)
    except OSError as error:
        raise GuardRefused(f"{path} cannot be examined: {error}; nothing was changed.") from error
    refusal = disk_fault.refusal(fault.fault, path, mounts, needed, allow_shared)
    free = space.f_bfree * space.f_frsize
    if not refusal and fault.fault == "disk_full" and free - fault.leave_free < space.f_frsize:
        refusal = f"Only {human_bytes(free)} are free in {path}, so there is nothing to fill"
    if not refusal and fault.fault == "disk_frozen" and shutil.which("fsfreeze") is None:
        refusal = "The program fsfreeze is not on this host (it is part of util-linux)"
    if not refusal and not is_writable(path):
        refusal = f"No file can be written in {path}: it is full or frozen already, or cannot have files without a name"
    if refusal:
        raise GuardRefused(f"{refusal}; nothing was changed.")


def put(fault: Fault, heal_after_s: int, ssh_port: int) -> tuple[int, int]:
    """Arm the timer, then put the fault on the host; heal at once if that fails. Raises GuardRefused or LocalFailure.

    Returns when the fault began: nanoseconds of the wall clock and since the boot, right before the step that makes it.
    """
    _write_files(fault)
    try:
        _run(Step(tuple(fault_plan.arm_command(heal_after_s))))
        if not is_armed():
            raise LocalFailure(f"The timer that heals the fault of {fault.drill} is not active; nothing was changed.")
    except LocalFailure:
        for path in (fault_plan.MARKER, fault_plan.SCRIPT):
            Path(path).unlink(missing_ok=True)
        raise
    try:
        *preparation, last = fault_plan.put_steps(fault, ssh_port)
        for step in preparation:
            _run(step)
        began = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        _run(last)
        _wait(lambda: is_in_effect(fault), f"{fault}")
        if not is_armed():
            raise LocalFailure(
                f"The timer healed the fault of {fault.drill} before it was there: use a longer heal_after."
            )
    except LocalFailure as error:
        reason = _reason_of_disk_unit()
        with contextlib.suppress(FileExistsError, GuardRefused):
            _write_files(fault)  # the timer may have removed them
        heal(fault)
        if reason:
            raise LocalFailure(f"{fault.path} could not be made so: {reason}. Nothing of the fault is left.") from error
        raise
    return began


def _reason_of_disk_unit() -> str:
    """Return what the unit that fills or freezes said of its failure; "" if there was none."""
    try:
        return Path(disk_fault.ERROR).read_text(encoding="utf-8", errors="replace").strip().rstrip(".")
    except OSError:
        return ""


def _write_files(fault: Fault) -> None:
    directory = Path(fault_plan.DIRECTORY)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        Path(fault_plan.HEALED).unlink(missing_ok=True)
        marker = os.open(fault_plan.MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(marker, "w", encoding="utf-8") as file:
            file.write(fault.to_json())
        _write_script(fault)
    except FileExistsError as error:
        raise GuardRefused("Another run puts a fault on this host at this moment; nothing was changed.") from error
    except OSError as error:
        raise LocalFailure(f"The script that heals cannot be written: {error}; the fault was not made.") from error


def _write_script(fault: Fault) -> None:
    """Write the script that heals. Raises OSError."""
    script = os.open(fault_plan.SCRIPT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
    with os.fdopen(script, "w", encoding="utf-8") as file:
        file.write(fault_plan.heal_script(fault))


def heal(fault: Fault) -> None:
    """Heal the fault, disarm the timer and wait until nothing is left. Raises LocalFailure; the timer stays armed then."""
    if not Path(fault_plan.SCRIPT).exists():  # the run that put the marker there was killed before it wrote the script
        try:
            _write_script(fault)
        except OSError as error:
            raise LocalFailure(f"The script that heals cannot be written: {error}; nothing was healed.") from error
    _run(Step(("/bin/sh", fault_plan.SCRIPT)))
    _wait(lambda: not any_left(proof(fault)), f"the fault of {fault.drill} to be healed")


def is_in_effect(fault: Fault) -> bool:
    """Return whether the fault is what the host is like."""
    if fault.fault == "isolated":
        return has_table()
    if fault.path:
        return _property(disk_fault.UNIT, "ActiveState") == "active"
    if fault.fault == "paused":
        processes = unit_processes(fault.unit)
        return bool(processes) and set(processes) == set(stopped_processes(fault.unit))
    return _property(fault.unit, "ActiveState") in ("inactive", "failed")


def proof(fault: Fault | None) -> dict[str, t.Any]:
    """Return what is left of a fault, read from the host now."""
    found: dict[str, t.Any] = {
        "marker": Path(fault_plan.MARKER).exists(),
        "timer": _property(f"{fault_plan.TIMER}.timer", "ActiveState"),
        "table": has_table(),
        "disk_unit": _property(disk_fault.UNIT, "ActiveState"),
    }
    if fault is not None and fault.path:
        found["writable"] = is_writable(fault.path)
    if fault is not None and fault.unit:
        found["drop_in"] = Path(fault_plan.drop_in(fault.unit)).exists()
        found["stopped_processes"] = stopped_processes(fault.unit)
        found["unit"] = _property(fault.unit, "ActiveState")
    return found


def any_left(found: t.Mapping[str, t.Any]) -> bool:
    """Return whether a proof says that something of a fault is left."""
    return bool(
        found["marker"]
        or found["table"]
        or found["timer"] != "inactive"
        or found["disk_unit"] != "inactive"
        or not found.get("writable", True)
        or found.get("drop_in")
        or found.get("stopped_processes")
        or found.get("unit", "active") not in RUNNING
    )


def is_writable(directory: str) -> bool:
    """Return whether a file can be written in a directory now.

    A process of its own tries it: on a frozen file system it cannot even be killed, and ends when that is thawed.
    """
    command = [sys.executable, "-I", "-S", "-c", WRITE, directory]
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
        return process.wait(WRITE_S) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def healed_at(drill: str) -> tuple[int, int] | None:
    """Return when the last fault of a drill was healed, as nanoseconds of the wall clock and since the boot; None if unknown."""
    try:
        name, wall, uptime = Path(fault_plan.HEALED).read_text(encoding="utf-8").split()
        return (_nanoseconds(wall), _nanoseconds(uptime)) if name == drill else None
    except (OSError, ValueError):
        return None


def _nanoseconds(text: str) -> int:
    seconds, _dot, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))


def has_table() -> bool:
    """Return whether the packet filter of a drill is there."""
    if shutil.which("nft") is None:
        return False
    return f"table inet {fault_plan.TABLE}" in _run(Step(("nft", "list", "tables"))).splitlines()


def unit_processes(unit: str) -> list[int]:
    """Return the processes of a unit."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):  # it ended
            if any(unit in line.split("/") for line in path.read_text(encoding="utf-8").splitlines()):
                found.append(int(path.parent.name))
    return found


def stopped_processes(unit: str) -> list[int]:
    """Return the processes of a unit that a signal has stopped."""
    found = []
    for pid in unit_processes(unit):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T":
                found.append(pid)
    return found


def _property(unit: str, name: str) -> str:
    return _run(Step(("systemctl", "show", "--value", "-p", name, unit))).strip()


def _wait(is_true: t.Callable[[], bool], what: str) -> None:
    end = time.monotonic() + TAKE_EFFECT_S
    while not is_true():
        if time.monotonic() > end:
            raise LocalFailure(f"Waited {TAKE_EFFECT_S:.0f} s in vain for this: {what}.")
        time.sleep(POLL_S)


def _run(step: Step) -> str:
    try:
        done = subprocess.run(
            step.command,
            input=step.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalFailure(f"The command {step} did not run to its end: {error}.") from error
    if done.returncode != 0:
        raise LocalFailure(f"The command {step} failed: {done.stdout.strip() or done.returncode}.")
    return done.stdout
