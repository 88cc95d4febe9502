# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of age: recipients (public) from options, identities (secret) and passphrases from files.

The format of the files is that of age(1) and ssh-keygen(1): https://github.com/C2SP/C2SP/blob/main/age.md
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ..._consul.errors import InvalidOption
from ..._consul.private_file import os_errors_as
from ._libraries import IdentityError, RecipientError, pyrage, require_pyrage

MAX_KEY_FILE = 1 << 20  # bytes
_SSH = ("ssh-ed25519 ", "ssh-rsa ")


def parse_recipients(keys: t.Iterable[str]) -> list[t.Any]:
    """Return the public keys for pyrage. Raises InvalidOption and MissingLibrary."""
    require_pyrage()
    return [_recipient(key.strip()) for key in keys]


def shown_recipient(key: str) -> str:
    """Return how a manifest names a recipient: the key without an SSH key's comment."""
    return " ".join(key.split()[:2]) if key.startswith(_SSH) else key.strip()


def read_identities(path: str) -> list[t.Any]:
    """Return the secret keys in a file for pyrage. Raises InvalidOption, LocalFailure and MissingLibrary."""
    require_pyrage()
    data = _read(path)
    if data.lstrip().startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE")):
        raise InvalidOption(
            f"identity_file {path} is encrypted with a passphrase itself: decrypt it first, for example with age -d."
        )
    if data.lstrip().startswith(b"-----BEGIN"):
        try:
            return [pyrage.ssh.Identity.from_buffer(data)]
        except IdentityError:
            raise InvalidOption(
                f"identity_file {path} is no SSH key that can be used: an Ed25519 or RSA key without a passphrase."
            ) from None
    identities = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                identities.append(pyrage.x25519.Identity.from_str(text))
            except IdentityError:
                # The line may be a damaged secret, so it is not shown.
                raise InvalidOption(
                    f"identity_file {path}: line {number} is no age identity (AGE-SECRET-KEY-1…)."
                ) from None
    if not identities:
        raise InvalidOption(f"identity_file {path} holds no identity: write one with age-keygen.")
    return identities


def read_passphrase(path: str) -> str:
    """Return the passphrase: the first line of a file. Raises InvalidOption and LocalFailure."""
    try:
        lines = _read(path).decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidOption(f"passphrase_file {path} is not text in UTF-8.") from None
    if not lines or not lines[0]:
        raise InvalidOption(f"passphrase_file {path} is empty.")
    return lines[0]


def _recipient(key: str) -> t.Any:
    try:
        if key.startswith(_SSH):
            return pyrage.ssh.Recipient.from_str(key)
        return pyrage.x25519.Recipient.from_str(key)
    except RecipientError:
        if key.startswith("AGE-SECRET-KEY"):
            raise InvalidOption(
                "recipients holds a secret key (AGE-SECRET-KEY-…): give the public one, age1…, which age-keygen -y prints."
            ) from None
        raise InvalidOption(
            f"recipients: {key[:80]!r} is no public key of age (age1…) or SSH (ssh-ed25519, ssh-rsa)."
        ) from None


def _read(path: str) -> bytes:
    with os_errors_as(f"reading {path}"), Path(path).open("rb") as stream:
        return stream.read(MAX_KEY_FILE)
