# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of receivers: the parts of their specs that several share, and reading them. Errors begin with the option's path.

Secrets are never values of options. ``NAME_file`` names a file that holds the secret, ``NAME_credential`` a systemd credential
(``LoadCredential=`` in the unit). They are read for every message, so that a secret can be replaced without a reload.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ...._config.validation import Spec
from ...._consul.errors import InvalidOption
from ...._consul.units import parse_duration
from .receiver import ReceiverContext

MAX_SECRET_BYTES = 1 << 16
CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"

# Every receiver: how long a message is tried, and how long one attempt may take.
COMMON: dict[str, dict[str, t.Any]] = {
    "give_up_after": {"type": "str", "default": "24h"},
    "timeout": {"type": "str", "default": "10s"},
}
TLS: dict[str, dict[str, t.Any]] = {
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "tls_server_name": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
}
HTTP: dict[str, dict[str, t.Any]] = {**TLS, "proxy": {"type": "str"}}


def secret_spec(name: str) -> dict[str, dict[str, t.Any]]:
    """Return the two options that say where a secret is."""
    return {f"{name}_file": {"type": "path", "no_log": False}, f"{name}_credential": {"type": "str", "no_log": False}}


def spec(*parts: Spec, **own: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return the spec of a receiver: what all have, parts that several have, and its own options."""
    result: dict[str, dict[str, t.Any]] = {**COMMON}
    for part in parts:
        result.update({name: dict(rules) for name, rules in part.items()})
    return {**result, **own}


class Secret:
    """A secret in a file."""

    def __init__(self, path: Path, option: str) -> None:
        self._path = path
        self._option = option

    def read(self) -> str:
        """Return the secret, one line. Raises InvalidOption."""
        lines = self.read_lines()
        if len(lines) != 1:
            raise InvalidOption(f"{self._option} {self._path} must hold one line, not {len(lines)}.")
        return lines[0]

    def read_lines(self) -> list[str]:
        """Return the lines that are not empty, at least one, without space around them. Raises InvalidOption."""
        where = f"{self._option} {self._path}"
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_SECRET_BYTES + 1).decode("utf-8")
        except OSError as error:
            raise InvalidOption(f"{where} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise InvalidOption(f"{where} is not text in UTF-8.") from None
        if len(text) > MAX_SECRET_BYTES:
            raise InvalidOption(f"{where} is larger than {MAX_SECRET_BYTES:,} bytes, so it holds no secret.")
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if not lines:
            raise InvalidOption(f"{where} is empty.")
        if not all(line.isprintable() for line in lines):
            raise InvalidOption(f"{where} holds control characters.")
        return lines


class Options:
    """The validated options of one receiver. ``place`` is where they stand, if not below ``receivers``."""

    def __init__(self, receiver: str, values: t.Mapping[str, t.Any], context: ReceiverContext, place: str = "") -> None:
        self._place = place or f"receivers.{receiver}"
        self._values = values
        self._environ = context.environ

    def __getitem__(self, option: str) -> t.Any:
        return self._values.get(option)

    def path(self, option: str) -> str:
        """Return how messages name an option."""
        return f"{self._place}.{option}"

    def invalid(self, option: str, problem: str) -> InvalidOption:
        """Return the error of an option that cannot be used."""
        return InvalidOption(f"{self.path(option)}: {problem}")

    def duration_s(self, option: str) -> float:
        """Return a duration above 0, in seconds. Raises InvalidOption."""
        seconds = parse_duration(self[option], self.path(option))
        if not 0 < seconds < 1e8:
            raise self.invalid(option, f"{self[option]} must be longer than 0 and shorter than three years.")
        return seconds

    def secret(self, name: str) -> Secret:
        """Return a secret that must be given; it is read once, to see that it can be. Raises InvalidOption."""
        found = self.optional_secret(name)
        if found is None:
            raise self.invalid(f"{name}_file", f"give this option, or {name}_credential.")
        return found

    def optional_secret(self, name: str) -> Secret | None:
        """Return a secret, or None if neither of its options is given. Raises InvalidOption."""
        file, credential = self[f"{name}_file"], self[f"{name}_credential"]
        if file is not None and credential is not None:
            raise self.invalid(f"{name}_credential", f"{name}_file is given too: give one of them.")
        if file is not None:
            found = Secret(Path(file), self.path(f"{name}_file"))
        elif credential is not None:
            found = Secret(self._credential(credential, f"{name}_credential"), self.path(f"{name}_credential"))
        else:
            return None
        found.read_lines()
        return found

    def nested_secret(self, option: str, value: t.Mapping[str, t.Any]) -> Secret:
        """Return the secret of a value such as ``{"file": "/path"}`` or ``{"credential": "name"}``. Raises InvalidOption."""
        (kind, name), *more = value.items() if value else [("", "")]
        if more or kind not in ("file", "credential") or not isinstance(name, str):
            raise self.invalid(option, 'expected text, {"file": "/path"} or {"credential": "name"}.')
        path = Path(name) if kind == "file" else self._credential(name, option)
        found = Secret(path, self.path(option))
        found.read()
        return found

    def _credential(self, name: str, option: str) -> Path:
        directory = self._environ.get(CREDENTIALS_DIRECTORY)
        if not directory:
            raise self.invalid(
                option, f"systemd did not start this process with credentials, so {name!r} is not available."
            )
        if os.sep in name or not name:
            raise self.invalid(option, f"{name!r} is not the name of a credential.")
        return Path(directory) / name
