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
import time
import typing as t
from pathlib import Path

from ..._consul.errors import GuardRefused, LocalFailure
from . import fault_plan
from .fault_plan import Controller, Fault, Step

COMMAND_TIMEOUT_S = 150.0  # systemd waits 90 seconds for a unit that does not stop
TAKE_EFFECT_S = 10.0
POLL_S = 0.05
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
    """Raise GuardRefused if there is a timer or a packet filter of a drill without its marker."""
    if _property(f"{fault_plan.TIMER}.timer", "ActiveState") != "inactive":
        raise GuardRefused(
            f"The timer {fault_plan.TIMER}.timer is there without a fault: stop it first; nothing was changed."
        )
    if has_table():
        raise GuardRefused(
            f"There is a table {fault_plan.TABLE} of nft without a fault: look at it, and delete it with "
            f"nft delete table inet {fault_plan.TABLE}; nothing was changed."
        )


def check_possible(fault: Fault, controller: Controller | None) -> None:
    """Raise GuardRefused if the fault cannot be put on this host, or would cut it off from the controller."""
    if os.geteuid() != 0:
        raise GuardRefused("A fault needs root on the host: use become; nothing was changed.")
    if not Path("/run/systemd/system").is_dir():
        raise GuardRefused("This host does not run systemd, which heals the fault: nothing was changed.")
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


def put(fault: Fault, heal_after_s: int, ssh_port: int) -> None:
    """Arm the timer, then put the fault on the host; heal at once if that fails. Raises GuardRefused or LocalFailure."""
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
        for step in fault_plan.put_steps(fault, ssh_port):
            _run(step)
        _wait(lambda: is_in_effect(fault), f"{fault}")
        if not is_armed():
            raise LocalFailure(
                f"The timer healed the fault of {fault.drill} before it was there: use a longer heal_after."
            )
    except LocalFailure:
        with contextlib.suppress(FileExistsError, GuardRefused):
            _write_files(fault)  # the timer may have removed them
        heal(fault)
        raise


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
    }
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
        or found.get("drop_in")
        or found.get("stopped_processes")
        or found.get("unit", "active") not in RUNNING
    )


def healed_at(drill: str) -> tuple[float, float] | None:
    """Return when the last fault of a drill was healed, as seconds of the wall clock and since the boot; None if unknown."""
    try:
        name, wall, uptime = Path(fault_plan.HEALED).read_text(encoding="utf-8").split()
        return (float(wall), float(uptime)) if name == drill else None
    except (OSError, ValueError):
        return None


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
