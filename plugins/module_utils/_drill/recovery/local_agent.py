# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks the Consul agent of this host with Python's own library: servers that lost their majority have no other libraries installed."""

from __future__ import annotations

import http.client
import json
import ssl
import typing as t
import urllib.error
import urllib.request

from ..._consul.errors import InvalidOption

AGENT_TIMEOUT_S = 4.0  # without a leader some requests are never answered


class NoAnswer(Exception):
    """The agent did not answer, or not with what was asked; the reason is one clause without a full stop."""


class LocalAgent:
    """The HTTP API of one agent. Raises InvalidOption for an address or a certificate that cannot be used."""

    def __init__(self, url: str, token: str | None, ca_path: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidOption(f"The URL {url} starts neither with http:// nor with https://.")
        self._url = url.rstrip("/")
        self._headers = {"X-Consul-Token": token} if token else {}
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        try:
            if url.startswith("https://"):
                handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_path)))
        except OSError as error:
            raise InvalidOption(f"The certificates in {ca_path} cannot be used: {error}.") from error
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, statuses: t.Collection[int] = (200,)) -> t.Any:
        """Return what the agent answers, decoded. Raises NoAnswer."""
        request = urllib.request.Request(self._url + path, headers=self._headers)
        try:
            with self._opener.open(request, timeout=AGENT_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                if error.code in statuses:
                    return _decoded(error)
                words = " ".join(error.read(300).decode("utf-8", "replace").split())
            raise NoAnswer(f"{path} is answered with {error.code} {words}".rstrip()) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise NoAnswer(f"{path} is not answered: {reason}") from error


def _decoded(error: urllib.error.HTTPError) -> t.Any:
    try:
        return json.loads(error.read())
    except (OSError, ValueError, http.client.HTTPException) as problem:
        raise NoAnswer(f"the answer is not JSON: {problem}") from problem
