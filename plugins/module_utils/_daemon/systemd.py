# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notifications to systemd: readiness, watchdog and status line. Without systemd nothing is sent.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import socket
import typing as t


def notify(environ: t.Mapping[str, str], **fields: str) -> bool:
    """Send fields to systemd, for example ``notify(os.environ, READY="1", STATUS="standby")``.

    Returns False if the message could not be delivered, because systemd is not listening at the moment. It never
    waits and never raises.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return False
    return True


def watchdog_s(environ: t.Mapping[str, str]) -> float | None:
    """Return the watchdog interval of systemd in seconds, None when the watchdog is off."""
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) > 0 else None
