# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TLS options of receivers, which are those of the connections to Consul."""

from __future__ import annotations

from ...._consul.endpoint import Endpoint
from ...._consul.errors import InvalidOption
from ...._consul.session import tls_context
from .options import Options


def tls_of(options: Options) -> Endpoint:
    """Return what ``_consul.session.tls_context`` makes a context of. Raises InvalidOption for files that cannot be used."""
    if options["client_key"] and not options["client_cert"]:
        raise options.invalid("client_key", "it is given without client_cert: name both.")
    tls = Endpoint(
        base_url="",
        shown_url="",
        ca_path=options["ca_path"],
        client_cert=options["client_cert"],
        client_key=options["client_key"],
        tls_server_name=options["tls_server_name"],
        validate_certs=options["validate_certs"],
    )
    if tls.ca_path or tls.client_cert:
        try:
            tls_context(tls)
        except InvalidOption as error:
            raise InvalidOption(options.path(str(error))) from None
    return tls
