# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection options, documented once for every module."""

from __future__ import annotations

import textwrap


class ModuleDocFragment:
    """Documentation fragments: the connection options, and the attributes that all modules of the group share.

    ``SIDES`` and ``SEVERAL`` document options that are connections of their own; they are built from the same text.
    """

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of a Consul agent or server, in the form that Consul's own tools accept.
      - One of V(host:port), V(http://host:port), V(https://host:port), V(https://[::1]:8501) and V(unix:///path/to/socket).
      - Falls back to the environment variable E(CONSUL_HTTP_ADDR), then to V(http://127.0.0.1:8500).
        An address without a scheme is plain HTTP, or HTTPS if it comes from the environment and E(CONSUL_HTTP_SSL) is set.
    type: str
  datacenter:
    description:
      - Name of the datacenter. It can be any datacenter that is federated with that of the Consul agent.
      - Defaults to the datacenter of the Consul agent.
    type: str
  token:
    description:
      - SecretID of the ACL token. An empty string selects the anonymous token and overrides the environment.
      - Falls back to the environment variable E(CONSUL_HTTP_TOKEN).
      - Mutually exclusive with O(token_file).
    type: str
  token_file:
    description:
      - File with the SecretID of the ACL token, on the host where the module runs.
      - Falls back to the environment variable E(CONSUL_HTTP_TOKEN_FILE).
    type: path
  http_auth:
    description:
      - User name and password for HTTP basic authentication in front of Consul, as V(user:password).
      - Falls back to the environment variable E(CONSUL_HTTP_AUTH).
    type: str
  ca_path:
    description:
      - File, or directory of files, with the certificate authorities to trust, in PEM form.
      - Falls back to the environment variables E(CONSUL_CACERT) and E(CONSUL_CAPATH), then to the certificate
        store of the host.
    type: path
  client_cert:
    description:
      - File with the client certificate in PEM form, if Consul requires one. It may contain the key too.
      - Falls back to the environment variable E(CONSUL_CLIENT_CERT).
    type: path
  client_key:
    description:
      - File with the key of O(client_cert) in PEM form, without a passphrase.
      - Falls back to the environment variable E(CONSUL_CLIENT_KEY).
    type: path
  tls_server_name:
    description:
      - Name that the server's certificate must have, if it is not the host in O(url),
        for example V(server.dc1.consul).
      - Falls back to the environment variable E(CONSUL_TLS_SERVER_NAME).
    type: str
  validate_certs:
    description:
      - Whether to verify the server's certificate. Disable this only for tests.
      - Falls back to the environment variable E(CONSUL_HTTP_SSL_VERIFY), then to V(true).
    type: bool
  namespace:
    description:
      - Consul Enterprise namespace. Sent when given.
      - Falls back to the environment variable E(CONSUL_NAMESPACE).
    type: str
  partition:
    description:
      - Consul Enterprise admin partition. Sent when given.
      - Falls back to the environment variable E(CONSUL_PARTITION).
    type: str
  timeout:
    description:
      - Seconds to wait for a connection, and for each part of a response.
    type: float
    default: 10.0
requirements:
  - requests
  - python-consul2 (or py-consul; not both, because they share one package name)
notes:
  - An option always takes precedence over its environment variable.
  - Runs on any host that can reach Consul, for example on the controller with C(delegate_to=localhost).
"""

    ATTRIBUTES = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying anything.
  diff_mode:
    description: Returns details on what has changed, or would change in C(check_mode), when in diff mode.
  action_group:
    description: Use C(group/consulops.failover.consul) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - consulops.failover.consul
"""


def _side(name: str, text: str, type_lines: str = "    type: dict\n    default: {}") -> str:
    """Return the documentation of an option that is a connection of its own, built from ``DOCUMENTATION``."""
    options = (
        ModuleDocFragment.DOCUMENTATION.partition("options:\n")[2]
        .partition("requirements:\n")[0]
        .replace("    default: 10.0\n", "")
    )
    return f"""
  {name}:
    description:
      - {text} It has the connection options of the module, which are also its defaults.
      - A token given here replaces both O(token) and O(token_file), and a client certificate both O(client_cert) and
        O(client_key).
{type_lines}
    suboptions:
{textwrap.indent(options, "    ")}"""


ModuleDocFragment.SIDES = (
    "options:" + _side("source", "The datacenter to read from.") + _side("destination", "The datacenter to write to.")
)
ModuleDocFragment.REPLICA = "options:" + _side(
    "replica",
    "The datacenter to which the keys of the drill are replicated, as this host reaches it.",
    "    type: dict",
)
ModuleDocFragment.SEVERAL = "options:" + _side(
    "connections",
    "Connections to check, one for each datacenter. Mutually exclusive with O(datacenters).",
    "    type: list\n    elements: dict",
)
ModuleDocFragment.FEDERATION = (
    "options:"
    + _side("lost", "The datacenter that was lost, as the fresh servers answer for it. It needs O(lost.datacenter).")
    + _side(
        "others",
        "The other datacenters of the federation, each by an agent that is one of its servers.",
        "    type: list\n    elements: dict\n    required: true",
    )
)
