#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consulops_libraries
short_description: Installs the libraries with compiled parts that object stores and encryption need
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Takes wheels that are pinned by hash on the controller, from pip, a cache or a wheelhouse, and unpacks them into a directory of the host.
    The host needs neither pip nor internet access, and nothing of its Python is changed.
  - The command that M(consulops.failover.consulops_bundle) installs finds them there if it was installed with the same directory as O(dest).
  - Libraries that are in the directory already stay, and are brought to the pinned version.
  - The directory is replaced after the host has imported the new libraries. Running agents keep the old ones until they are restarted.
options:
  dest:
    description:
      - Directory of the libraries, for example V(/usr/local/lib/consulops/libraries). The directory above it must exist.
    type: path
    required: true
  libraries:
    description:
      - V(obstore) is for object stores, and needs Python 3.11. V(pyrage) is for encrypted snapshots, and needs Python 3.10.
    type: list
    elements: str
    choices: [obstore, pyrage]
    required: true
  interpreter:
    description:
      - Absolute path of the Python interpreter on the host that uses the libraries.
    type: str
    default: /usr/bin/python3
  wheelhouse:
    description:
      - Directory on the controller with the wheels, for controllers on which pip cannot download them. With this option neither the cache
        nor pip is used.
      - The second example fills such a directory.
    type: path
  cache:
    description:
      - Directory on the controller in which downloaded wheels are kept.
      - Defaults to C(consulops/wheels) in the user's cache directory (E(XDG_CACHE_HOME), else C(~/.cache)).
    type: path
attributes:
  check_mode:
    support: full
    description: Reports whether the directory would change.
  diff_mode:
    support: full
    description: Shows the versions in the directory before and after.
notes:
  - There are wheels for Linux with glibc on x86_64 and aarch64. The pins are in C(plugins/plugin_utils/_compiled.py).
seealso:
  - module: consulops.failover.consulops_bundle
"""

EXAMPLES = r"""
- name: Install what object stores and encryption need
  consulops.failover.consulops_libraries:
    dest: /usr/local/lib/consulops/libraries
    libraries: [obstore, pyrage]
  become: true

- name: Fill a wheelhouse for controllers without a package index
  ansible.builtin.command:
    cmd: >-
      pip download --no-deps --only-binary :all: --python-version 3.11 --implementation cp --abi abi3 --abi none
      --platform manylinux2014_x86_64 --dest /srv/wheelhouse obstore==0.12.1 pyrage==1.4.0 typing_extensions==4.16.0
    creates: /srv/wheelhouse/typing_extensions-4.16.0-py3-none-any.whl
  delegate_to: localhost

- name: Run a module on that host with these libraries and those of the bundle
  consulops.failover.consul_snapshot:
    path: s3://consul-backups/dc1/
  environment:
    PYTHONPATH: /usr/local/lib/consulops/consulops.pyz:/usr/local/lib/consulops/libraries
  become: true
"""

RETURN = r"""
libraries:
  description: Version and SHA-256 of each library that was asked for, and of what it needs, by name.
  returned: success
  type: dict
  sample: {"pyrage": {"version": "1.4.0", "sha256": "7f4eb0cb..."}}
dest:
  description: The directory on the host.
  returned: success
  type: str
"""
