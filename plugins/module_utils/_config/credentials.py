# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets from systemd credentials: options that name one, and defaults for the token and the HTTP authentication.

systemd puts the files of LoadCredential into a directory that only this service can read.
Source: https://systemd.io/CREDENTIALS/
"""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

from .._consul.errors import InvalidOption

CREDENTIAL = "credential:"
_DIRECTORY = "CREDENTIALS_DIRECTORY"
# A credential of this name sets this variable: to its path, or to its content.
_PATH_VARIABLES = {"token": "CONSUL_HTTP_TOKEN_FILE"}
_TEXT_VARIABLES = {"http_auth": "CONSUL_HTTP_AUTH"}


def resolve_credentials(
    options: t.Any, environ: t.Mapping[str, str], path: str = "", *, late: t.Collection[str] = ()
) -> t.Any:
    """Return the options with every ``credential:NAME`` replaced by the path of that credential.

    At or below the paths of keys in ``late`` it may be missing: whoever reads it says so. Raises InvalidOption that begins with the
    path of the key (``path``, then the names and indexes below it).
    """
    if isinstance(options, dict):
        return {
            name: resolve_credentials(value, environ, f"{path}.{name}".lstrip("."), late=late)
            for name, value in options.items()
        }
    if isinstance(options, list):
        return [
            resolve_credentials(value, environ, f"{path}[{number}]", late=late) for number, value in enumerate(options)
        ]
    if isinstance(options, str) and options.startswith(CREDENTIAL):
        may_be_missing = any(path == one or path.startswith(f"{one}.") for one in late)
        return str(_credential(options[len(CREDENTIAL) :], environ, path, may_be_missing))
    return options


def with_credentials(environ: t.Mapping[str, str]) -> dict[str, str]:
    """Return the environment with variables for the credentials ``token`` and ``http_auth``, if the unit has them.

    Raises InvalidOption when a credential exists and this process cannot read it.
    """
    result = dict(environ)
    directory = environ.get(_DIRECTORY)
    if directory:
        for name, variable in _PATH_VARIABLES.items():
            path = Path(directory) / name
            if _exists(path):
                result.pop("CONSUL_HTTP_TOKEN", None)
                result[variable] = str(path)
        for name, variable in _TEXT_VARIABLES.items():
            path = Path(directory) / name
            if _exists(path):
                result[variable] = _text(path)
    return result


def _exists(path: Path) -> bool:
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


def _credential(name: str, environ: t.Mapping[str, str], option: str, may_be_missing: bool) -> Path:
    directory = environ.get(_DIRECTORY)
    if not directory:
        raise InvalidOption(
            f"{option}: the credential {name!r} is not available, because systemd did not start this process with credentials."
        )
    path = Path(directory) / name
    if "/" in name or not (may_be_missing or _exists(path)):
        raise InvalidOption(f"{option}: the unit has no credential {name!r}: add LoadCredential={name}:/path to it.")
    return path
