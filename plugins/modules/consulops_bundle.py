#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consulops_bundle
short_description: Installs the consulops command on a host as one file
version_added: 1.2.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Builds a zip application on the controller from this collection and pinned pure Python libraries, and installs it.
  - The host needs only Python 3.9 or newer. It does not need pip or internet access.
  - The same sources give the same file on every controller, so a second run changes nothing, even from another controller.
  - The file is replaced atomically, after the host has run the new one successfully.
  - A copy with byte code is left beside it, as C(DEST.compiled), with which the command starts faster. To remove the command, remove both.
  - Modules of this collection on that host import their libraries from it if the task sets E(PYTHONPATH=DEST) in its environment.
options:
  dest:
    description:
      - Path of the installed file, for example V(/usr/local/lib/consulops/consulops.pyz). The directory must exist.
    type: path
    required: true
  interpreter:
    description:
      - Absolute path of the Python interpreter on the host. It becomes the first line of the file.
    type: str
    default: /usr/bin/python3
  libraries:
    description:
      - Directory on the host in which the command finds further libraries, which M(consulops.failover.consulops_libraries) installs. It need not
        exist.
    type: str
    version_added: 1.3.0
  wheelhouse:
    description:
      - Directory on the controller with the wheels of the libraries, for controllers on which pip cannot download them.
        With this option neither the cache nor pip is used.
      - The second example fills such a directory.
    type: path
  cache:
    description:
      - Directory on the controller in which downloaded wheels are kept.
      - Defaults to C(consulops/wheels) in the user's cache directory (E(XDG_CACHE_HOME), else C(~/.cache)).
    type: path
  owner:
    description:
      - Owner of the file.
    type: str
  group:
    description:
      - Group of the file.
    type: str
  mode:
    description:
      - Permissions of the file.
    type: raw
    default: "0755"
  backup:
    description:
      - Keep the replaced file, with a timestamp in its name.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Reports whether the file would change.
  diff_mode:
    support: full
    description: Shows the versions in the bundle before and after.
notes:
  - "The pins are in C(plugins/plugin_utils/_wheels.py). On a machine with pip the command in the second example fills a wheelhouse.
    The wheels are for the oldest supported Python, and their hashes are verified."
  - Two dependencies of requests are replaced. certifi is replaced by the certificate store of the host, and encodings are not detected.
  - The C version of msgpack is used if the host has it (python3-msgpack on Debian). The pure Python version in the bundle reads snapshots
    about ten times slower.
seealso:
  - module: consulops.failover.consulops_libraries
  - module: consulops.failover.consul_snapshot
"""

EXAMPLES = r"""
- name: Install the command
  consulops.failover.consulops_bundle:
    dest: /usr/local/lib/consulops/consulops.pyz
  become: true

- name: Fill a wheelhouse for controllers without a package index
  ansible.builtin.command:
    cmd: >-
      pip download --no-deps --only-binary :all: --python-version 3.9 --implementation cp --abi cp39
      --platform manylinux2014_x86_64 --dest /srv/wheelhouse
      bottle==0.13.4 cheroot==11.1.2 cronsim==2.6 idna==3.10 jaraco.functools==4.4.0 Jinja2==3.1.6 MarkupSafe==3.0.4 more-itertools==10.8.0
      msgpack==1.1.2 prometheus_client==0.26.0 python-consul2==0.1.5 requests==2.32.5 six==1.17.0 urllib3==2.6.3
    creates: /srv/wheelhouse/requests-2.32.5-py3-none-any.whl
  delegate_to: localhost

- name: Install the command from the wheelhouse
  consulops.failover.consulops_bundle:
    dest: /usr/local/lib/consulops/consulops.pyz
    wheelhouse: /srv/wheelhouse
  become: true

- name: Run a module on that host with the libraries of the bundle
  consulops.failover.consul_snapshot:
    path: /var/backups/consul/
  environment:
    PYTHONPATH: /usr/local/lib/consulops/consulops.pyz
  become: true
"""

RETURN = r"""
bundle:
  description: The bundle that was built.
  returned: always
  type: dict
  contains:
    collection:
      description: The collection.
      type: str
      sample: consulops.failover
    version:
      description: Version of the collection.
      type: str
      sample: 1.2.0
    python:
      description: Supported Python versions.
      type: str
      sample: ">=3.9"
    sources:
      description: SHA-256 of the collection's sources in the bundle.
      type: str
    libraries:
      description: Version and SHA-256 of each library in the bundle, by name.
      type: dict
      sample: {"requests": {"version": "2.32.5", "sha256": "2462f946..."}}
    sha256:
      description: SHA-256 of the file.
      type: str
    size:
      description: Size of the file in bytes.
      type: int
dest:
  description: Path of the file on the host.
  returned: success
  type: str
"""
