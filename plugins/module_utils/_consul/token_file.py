# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A token in a file, which may be replaced, or appear, while a process runs: it is read again whenever the file has changed."""

from __future__ import annotations

from pathlib import Path

from . import errors


class TokenFile:
    """The file with a token. ``option`` is how messages name it. Those of one path are equal, whatever the file holds.

    For several threads: at worst two of them read the file.
    """

    def __init__(self, path: str, option: str) -> None:
        self.path = path
        self._option = option
        self._seen: tuple[int, ...] = ()
        self._token: str | None = None
        self._secrets: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenFile) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every token that was read from it."""
        return self._secrets

    def read(self) -> str:
        """Return the token. Raises TokenUnavailable if there has never been one.

        While the file cannot be read, the token that was read last is used: it may be valid still.
        """
        try:
            status = Path(self.path).stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
            if self._token is not None and seen == self._seen:
                return self._token
            token = self._read()
        except (OSError, errors.TokenUnavailable) as error:
            if self._token is not None:
                return self._token
            if isinstance(error, errors.TokenUnavailable):
                raise
            raise errors.TokenUnavailable(
                f"{self._option} {self.path}: {error.strerror or error}, so the token cannot be read."
            ) from None
        self._token, self._seen = token, seen
        if token not in self._secrets:
            self._secrets = (*self._secrets, token)
        return token

    def _read(self) -> str:
        try:
            text = Path(self.path).read_text(encoding="ascii")
        except UnicodeDecodeError:
            raise errors.TokenUnavailable(
                f"{self._option} {self.path} does not hold a token: it is not plain text."
            ) from None
        if not text.strip():
            raise errors.TokenUnavailable(f"{self._option} {self.path} is empty: put the token's SecretID into it.")
        return clean_token(text, f"{self._option} {self.path}")


def clean_token(text: str, where: str) -> str:
    """Return a token fit for a header. Raises TokenUnavailable."""
    token = text.strip()
    if any(not 0x21 <= ord(character) <= 0x7E for character in token):
        raise errors.TokenUnavailable(
            f"{where} holds characters that no Consul token has: look for line breaks or quotes."
        )
    return token
