# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where secrets come from on a host: files, systemd credentials, the environment. Never arguments or configuration.

systemd puts the files that a unit names with LoadCredential into a directory that only this service can read.
Source: https://systemd.io/CREDENTIALS/
"""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

from .._consul.errors import InvalidOption

CREDENTIAL = "credential:"
_DIRECTORY = "CREDENTIALS_DIRECTORY"
# What a credential of this name stands in for, when the unit has one and nothing else was said.
_STANDING_IN = {"token": "CONSUL_HTTP_TOKEN_FILE"}
_STANDING_IN_TEXT = {"http_auth": "CONSUL_HTTP_AUTH"}


def located(options: t.Any, environ: t.Mapping[str, str], where: str = "") -> t.Any:
    """Return options in which every ``credential:NAME`` is the path of that credential. Raises InvalidOption."""
    if isinstance(options, dict):
        return {name: located(value, environ, f"{where}.{name}".lstrip(".")) for name, value in options.items()}
    if isinstance(options, list):
        return [located(value, environ, f"{where}[{number}]") for number, value in enumerate(options)]
    if isinstance(options, str) and options.startswith(CREDENTIAL):
        return str(_credential(options[len(CREDENTIAL) :], environ, where))
    return options


def surroundings(environ: t.Mapping[str, str]) -> dict[str, str]:
    """Return the environment, completed by the credentials ``token`` and ``http_auth`` where the unit has them.

    Raises InvalidOption when there are credentials that this process may not read.
    """
    found = dict(environ)
    directory = environ.get(_DIRECTORY)
    if directory:
        for name, variable in _STANDING_IN.items():
            path = Path(directory) / name
            if _is_there(path):
                found.pop("CONSUL_HTTP_TOKEN", None)
                found[variable] = str(path)
        for name, variable in _STANDING_IN_TEXT.items():
            path = Path(directory) / name
            if _is_there(path):
                found[variable] = _text(path)
    return found


def _is_there(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error.strerror) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not text in UTF-8") from None


def _unreadable(path: Path, why: str | None) -> InvalidOption:
    return InvalidOption(f"the credential {path} cannot be read: {why}.")


def _credential(name: str, environ: t.Mapping[str, str], where: str) -> Path:
    directory = environ.get(_DIRECTORY)
    if not directory:
        raise InvalidOption(
            f"{where}: credential {name!r} is named, and this was not started by systemd with credentials."
        )
    path = Path(directory) / name
    if "/" in name or not _is_there(path):
        raise InvalidOption(f"{where}: the unit has no credential {name!r}: add LoadCredential={name}:/path to it.")
    return path
