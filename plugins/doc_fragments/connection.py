# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection options, described once for every module."""

from __future__ import annotations

import textwrap


class ModuleDocFragment:
    """Documentation fragments: the options, and the attributes that all modules of the group share.

    ``SIDES`` and ``SEVERAL`` describe options that are whole connections; they are made of the same text below.
    """

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of a Consul agent or server, as Consul's own tools take it.
      - One of V(host:port), V(http://host:port), V(https://host:port), V(https://[::1]:8501) and V(unix:///path/to/socket).
      - Falls back to the environment variable E(CONSUL_HTTP_ADDR), then to V(http://127.0.0.1:8500).
        An address without a scheme is plain HTTP; for one from the environment E(CONSUL_HTTP_SSL) can make it HTTPS.
    type: str
  datacenter:
    description:
      - Name of the datacenter to work on. Any datacenter that is federated with the agent's own can be named.
      - Without it, the datacenter of the agent that answers.
    type: str
  token:
    description:
      - SecretID of the ACL token to use. An empty string means the anonymous token, whatever the environment says.
      - Falls back to the environment variable E(CONSUL_HTTP_TOKEN).
      - Mutually exclusive with O(token_file).
    type: str
  token_file:
    description:
      - File that holds the SecretID of the ACL token, on the host where the module runs.
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
      - Falls back to the environment variables E(CONSUL_CACERT) and E(CONSUL_CAPATH), then to the authorities
        that the host itself trusts.
    type: path
  client_cert:
    description:
      - File with the client certificate in PEM form, if Consul verifies who is calling. May hold the key too.
      - Falls back to the environment variable E(CONSUL_CLIENT_CERT).
    type: path
  client_key:
    description:
      - File with the key of O(client_cert) in PEM form, without a passphrase.
      - Falls back to the environment variable E(CONSUL_CLIENT_KEY).
    type: path
  tls_server_name:
    description:
      - Name to expect in the server's certificate when it is not the host in O(url),
        for example V(server.dc1.consul).
      - Falls back to the environment variable E(CONSUL_TLS_SERVER_NAME).
    type: str
  validate_certs:
    description:
      - Whether to verify the server's certificate. Turn it off only against test machines.
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
      - Seconds to wait for a connection, and then for each next piece of an answer.
    type: float
    default: 10.0
requirements:
  - requests
  - python-consul2 (or py-consul; never both, they share one package name)
notes:
  - An option that is given always wins over its environment variable.
  - Runs wherever the agent can be reached, for example on the controller with C(delegate_to=localhost).
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


def _side(name: str, text: str, kind: str = "    type: dict\n    default: {}") -> str:
    """Return the documentation of an option that is a whole connection, from the same text."""
    options = (
        ModuleDocFragment.DOCUMENTATION.partition("options:\n")[2]
        .partition("requirements:\n")[0]
        .replace("    default: 10.0\n", "")
    )
    return f"""
  {name}:
    description:
      - {text} Takes the same options as the module itself; one that is not given here is taken from there.
      - A token or a client certificate given here takes the place of both O(token) and O(token_file), or of both
        O(client_cert) and O(client_key).
{kind}
    suboptions:
{textwrap.indent(options, "    ")}"""


ModuleDocFragment.SIDES = (
    "options:" + _side("source", "Where the keys come from.") + _side("destination", "Where they go to.")
)
ModuleDocFragment.SEVERAL = "options:" + _side(
    "connections",
    "Agents to ask, one for each datacenter that has its own. Mutually exclusive with O(datacenters).",
    "    type: list\n    elements: dict",
)
