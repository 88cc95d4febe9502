# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that keeps a file system full, which systemd runs from a copy of this source: it imports nothing of ours.

Its file has no name, so that the space is free again as soon as this process has ended, for whatever reason.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time

CHUNK = 1 << 30
POLL_S = 1.0


def fill(file: int, size: int, leave_free: int) -> int:
    """Make the file larger until that many bytes are free, those reserved for root among them, and return its size.

    Raises OSError for everything but a file system that is full.
    """
    block = os.fstatvfs(file).f_frsize
    chunk = CHUNK
    while chunk >= block:
        wanted = min(chunk, os.fstatvfs(file).f_bfree * block - leave_free)
        if wanted < block:
            break
        try:
            os.posix_fallocate(file, size, wanted)
            size += wanted
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            chunk = wanted // 2
    return size


def notify_ready() -> None:
    """Report to systemd that the file system is full."""
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(b"READY=1")


def main() -> None:
    """Fill the file system of a directory, and fill it again when something was deleted there, until this process is ended."""
    directory, leave_free = sys.argv[1], int(sys.argv[2])
    try:
        file = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
        size = fill(file, 0, leave_free)
        notify_ready()
        while True:
            time.sleep(POLL_S)
            size = fill(file, size, leave_free)
    except OSError as error:
        raise SystemExit(f"{directory} cannot be kept full: {error}") from None


if __name__ == "__main__":
    main()
