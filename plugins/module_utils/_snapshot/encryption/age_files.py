# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encrypts and decrypts snapshot files in the format of age, in one pass and with memory that does not grow with the file.

A passphrase is the exception: the library holds the whole file in memory then, so its size is limited.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..._consul.errors import Error, GuardRefused, LocalFailure
from ..._consul.private_file import os_errors_as
from ..gunzip import CHUNK
from ..manifest import Encryption
from ..sources import SnapshotFile, Writable
from ._libraries import DecryptError, EncryptError, pyrage, require_pyrage
from .age_format import ARMOR, FORMAT, INTRO, SCRYPT, DecryptionKeys, EncryptionKeys, beginning
from .age_keys import (
    parse_recipients,
    read_identities,
    read_passphrase,
    shown_recipient,
)
from .errors import DamagedEncryption, NoIdentity, WrongIdentity

PASSPHRASE_MAX = 64 << 20  # bytes of a file; nine times as much memory is used
ATTEMPTS = 3  # with a passphrase: age measures how fast this host is each time


def check_keys(keys: EncryptionKeys) -> None:
    """Raise InvalidOption, LocalFailure or MissingLibrary unless the keys can be used: before anything is saved."""
    if keys.passphrase_file:
        require_pyrage()
        read_passphrase(keys.passphrase_file)
    parse_recipients(keys.recipients)


def encrypt(source: Path, destination: Writable, keys: EncryptionKeys) -> Encryption:
    """Encrypt a file for the recipients, or with the passphrase, and return what the manifest says about it.

    Raises InvalidOption, LocalFailure, GuardRefused (too large for a passphrase) and MissingLibrary.
    """
    require_pyrage()
    written = _Writer(destination)
    if keys.passphrase_file:
        passphrase = read_passphrase(keys.passphrase_file)
        written.write(pyrage.passphrase.encrypt(_whole(source), passphrase))
        return written.encryption(())
    recipients = parse_recipients(keys.recipients)
    with SnapshotFile(source) as stream:
        reader = _Reader(stream)
        try:
            pyrage.encrypt_io(reader, written, recipients)
        except (EncryptError, OSError) as error:
            raise _cause(reader, written) or LocalFailure(f"encrypting {source}: {error}.") from None
    return written.encryption(tuple(map(shown_recipient, keys.recipients)))


def decrypt(source: Path, destination: Writable, keys: DecryptionKeys, shown: str) -> None:
    """Decrypt a file of age's. ``shown`` is its name in messages.

    What was written before an error is not to be used. Raises NoIdentity, WrongIdentity, DamagedEncryption, InvalidOption,
    LocalFailure, GuardRefused (too large for a passphrase) and MissingLibrary.
    """
    require_pyrage()
    start = beginning(source)
    if not start.startswith((INTRO, ARMOR)):
        raise DamagedEncryption(f"{shown} is not encrypted with age: its beginning is another, or it is cut short.")
    if start.startswith(SCRYPT):
        _decrypt_with_passphrase(source, destination, keys, shown)
        return
    if keys.identity_file is None:
        raise NoIdentity(
            f"{shown} is encrypted for recipients: set identity_file to a file with the identity of one of them."
        )
    identities = read_identities(keys.identity_file)
    written = _Writer(destination)
    with SnapshotFile(source) as stream:
        reader = _Reader(stream)
        try:
            pyrage.decrypt_io(reader, written, identities)
        except (DecryptError, OSError) as error:
            raise (
                _cause(reader, written)
                or _not_decrypted(error, shown, f"no identity in {keys.identity_file} is one of its recipients")
            ) from None


def _decrypt_with_passphrase(source: Path, destination: Writable, keys: DecryptionKeys, shown: str) -> None:
    if keys.passphrase_file is None:
        raise NoIdentity(f"{shown} is encrypted with a passphrase: set passphrase_file to a file with it.")
    passphrase, content = read_passphrase(keys.passphrase_file), _whole(source)
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            data = pyrage.passphrase.decrypt(content, passphrase)
        except (DecryptError, OSError) as error:
            if attempts_left and _is_too_much_work(error):
                continue
            raise _not_decrypted(error, shown, f"{keys.passphrase_file} holds another passphrase") from None
        destination.write(data)
        return


def _is_too_much_work(error: Exception) -> bool:
    """Return whether age refuses a passphrase because this host is too slow for it, as it measures: a busy one may not be later."""
    return isinstance(error, DecryptError) and "Excessive work" in str(error)


def _not_decrypted(error: Exception, shown: str, wrong_key: str) -> Error:
    """Return the error for what pyrage said, which has only texts."""
    text = str(error)
    if _is_too_much_work(error):
        return LocalFailure(
            f"{shown} cannot be decrypted now: the work for its passphrase would take age too long on this host, which is busy or far "
            "slower than the one that encrypted it. Try again, or use another host."
        )
    if isinstance(error, DecryptError) and ("No matching keys" in text or text == "Decryption failed"):
        return WrongIdentity(f"{shown} cannot be decrypted: {wrong_key}.")
    return DamagedEncryption(f"{shown} cannot be decrypted: it is cut short or was changed after it was encrypted.")


def _whole(path: Path) -> bytes:
    with os_errors_as(f"reading {path}"):
        size = path.stat().st_size
        if size > PASSPHRASE_MAX:
            raise GuardRefused(
                f"{path} has {size} bytes, and with a passphrase only files up to {PASSPHRASE_MAX} are encrypted, because all of "
                "it is held in memory: use recipients."
            )
        return path.read_bytes()


class _Reader:
    """A source for pyrage, which remembers the error that pyrage would turn into a text."""

    def __init__(self, source: SnapshotFile) -> None:
        self._source = source
        self.error: Error | None = None

    def read(self, size: int = CHUNK) -> bytes:
        try:
            return self._source.read(size)
        except Error as error:
            self.error = error
            raise


class _Writer:
    """A destination for pyrage that counts, hashes and remembers its error."""

    def __init__(self, destination: Writable) -> None:
        self._destination = destination
        self._hash = hashlib.sha256()
        self._size = 0
        self.error: Error | None = None

    def write(self, data: bytes) -> int:
        try:
            self._destination.write(data)
        except Error as error:
            self.error = error
            raise
        self._hash.update(data)
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def encryption(self, recipients: tuple[str, ...]) -> Encryption:
        """Return what the manifest says about what was written."""
        return Encryption(FORMAT, recipients, self._size, self._hash.hexdigest())


def _cause(reader: _Reader, writer: _Writer) -> Error | None:
    return reader.error or writer.error
