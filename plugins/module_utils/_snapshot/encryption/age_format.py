# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of encrypted files without the library that encrypts: for whom, by what they are opened, how they begin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..sources import SnapshotFile

FORMAT = "age"
INTRO = b"age-encryption.org/v1\n"
ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
SCRYPT = INTRO + b"-> scrypt "  # encrypted with a passphrase


@dataclass(frozen=True)
class EncryptionKeys:
    """For whom a snapshot is encrypted: public keys, or the passphrase in a file. Neither: it is not encrypted."""

    recipients: tuple[str, ...] = ()
    passphrase_file: str | None = None

    def __bool__(self) -> bool:
        return bool(self.recipients or self.passphrase_file)


@dataclass(frozen=True)
class DecryptionKeys:
    """What opens a snapshot: a file of identities (age's or an SSH key), or a file with the passphrase."""

    identity_file: str | None = None
    passphrase_file: str | None = None


def is_encrypted(path: Path) -> bool:
    """Return whether a file is one of age's. Raises LocalFailure."""
    return beginning(path).startswith((INTRO, ARMOR))


def beginning(path: Path) -> bytes:
    """Return enough of a file's beginning to see whether it is one of age's, and of which kind. Raises LocalFailure."""
    with SnapshotFile(path) as stream:
        return stream.read(len(ARMOR) + len(SCRYPT))
