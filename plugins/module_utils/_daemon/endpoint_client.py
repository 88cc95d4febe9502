# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The other side of the endpoint: sends requests to a running agent, for the command. No answer and a refusal are different errors."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

from .._consul import endpoint, errors
from .._consul._libraries import requests, require, urllib3
from .._consul.abort import Aborter
from .._consul.failures import excerpt, root_reason
from .._consul.session import make_session

DEFAULT_URL = "http://127.0.0.1:9000"
TIMEOUT_S = 5.0
NO_SUCH_PATH = "Not found. Available paths:"  # how web_app.py answers where an agent serves nothing


class NoAnswer(errors.Error):
    """No agent answers there: nothing listens, it hangs, or something else than such an agent listens."""


class Refused(errors.Error):
    """The agent refused a request, because of a missing or wrong token for example."""


class EndpointClient:
    """Sends requests to the endpoint of one agent. ``url`` as Consul's addresses; ``token_file`` has the token of the endpoint.

    Construction raises InvalidOption.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token_file: str | None = None,
        ca_path: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        require("requests")
        try:
            resolved = endpoint.resolve({"url": url, "ca_path": ca_path}, {})
        except errors.InvalidOption as error:
            raise errors.InvalidOption(f"The address of the agent: {error}") from None
        token = "" if token_file is None else _token(token_file)
        self._endpoint = replace(resolved, timeout_s=timeout_s)
        self._redacted = replace(self._endpoint, given_token=token or None)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = make_session(self._endpoint, Aborter())

    def __str__(self) -> str:
        return self._endpoint.shown_url

    def get(self, path: str, query: t.Mapping[str, str] | None = None) -> dict[str, t.Any]:
        """Return the object that a path answers with. Raises NoAnswer, Refused, and InvalidOption for what the agent rejects."""
        return self._exchange("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: t.Any) -> dict[str, t.Any]:
        """Send JSON and return the answer. Raises as ``get`` does."""
        return self._exchange("POST", path, json.dumps(body).encode())

    def delete(self, path: str, name: str) -> dict[str, t.Any]:
        """Delete what has a name below a path. Raises as ``get`` does."""
        return self._exchange("DELETE", f"{path}/{quote(name, safe='')}")

    def _exchange(self, method: str, path: str, body: bytes | None = None) -> dict[str, t.Any]:
        timeout_s = self._endpoint.timeout_s
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            response = self._session.request(
                method,
                f"{self._endpoint.base_url}{path}",
                data=body,
                headers=headers,
                timeout=timeout_s,
                allow_redirects=False,  # the token would go along
            )
        except requests.exceptions.Timeout:
            raise NoAnswer(f"The agent at {self} does not answer within {timeout_s:g} s.") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswer(f"The agent at {self} does not answer ({root_reason(error)}).") from None
        if 200 <= response.status_code < 300:
            return self._decoded(method, path, response.content)
        raise self._of_status(method, path, response.status_code, response.content)

    def _decoded(self, method: str, path: str, content: bytes) -> dict[str, t.Any]:
        try:
            decoded = json.loads(content) if content else {}
        except (ValueError, RecursionError):
            decoded = None
        if not isinstance(decoded, dict):
            raise self._is_another(f"{method} {path.partition('?')[0]} is not answered with JSON")
        return decoded

    def _of_status(self, method: str, path: str, status: int, content: bytes) -> errors.Error:
        line, text = f"{method} {path.partition('?')[0]}", excerpt(content, self._redacted)
        if status in (404, 405) and (status == 405 or text.startswith(NO_SUCH_PATH) or not _is_text(content)):
            return self._is_another(f"{line}: {status}")
        if status in (400, 404, 409, 422):
            return errors.InvalidOption(text or f"The agent at {self} rejects {line}: {status}.")
        if status in (401, 403, 413, 415, 421):
            return Refused(f"The agent at {self} refuses {line}: {status} {text}".rstrip())
        if status == 503:
            return NoAnswer(f"The agent at {self} cannot answer now: {text.rstrip('.')}.")
        return self._is_another(f"{line}: {status}")

    def _is_another(self, why: str) -> NoAnswer:
        return NoAnswer(f"What listens at {self} is another program, or an agent of another type or version ({why}).")


def _is_text(content: bytes) -> bool:
    """Return whether an answer is a sentence, as agents answer, and not a page."""
    return bool(content.strip()) and not content.lstrip().startswith(b"<")


def _token(path: str) -> str:
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise errors.InvalidOption(
            f"The token of the agent cannot be read from {path}: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError:
        token = ""
    if not token or any(not 0x21 <= ord(character) <= 0x7E for character in token):
        raise errors.InvalidOption(f"{path} does not hold the token of the agent: one word of plain text is expected.")
    return token
