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
  - Builds one zip application on the controller, from this collection and a pinned set of pure Python libraries, and installs it.
  - The host needs Python 3.9 or newer and nothing else, neither pip nor a way to the internet.
  - The same sources give the same bytes on every controller, so a second run, also from another controller, changes nothing.
  - The file is replaced in one step, and only after the host has shown that it can run the new one.
  - Modules of this collection that run on the host find their libraries in it when the task's environment says E(PYTHONPATH=DEST).
options:
  dest:
    description:
      - Where to install it, for example V(/usr/local/lib/consulops/consulops.pyz). The directory must exist.
    type: path
    required: true
  interpreter:
    description:
      - The Python of the host that runs it, as its first line says. One absolute path.
    type: str
    default: /usr/bin/python3
  wheelhouse:
    description:
      - A directory of the controller that holds the libraries, where pip cannot fetch them. Nothing else is looked at then.
      - See the notes for how to fill it.
    type: path
  cache:
    description:
      - A directory of the controller in which fetched libraries are kept.
      - Defaults to C(consulops/wheels) in the user's cache directory (E(XDG_CACHE_HOME), else C(~/.cache)).
    type: path
  owner:
    description:
      - The user who is to own the file.
    type: str
  group:
    description:
      - The group that is to own the file.
    type: str
  mode:
    description:
      - The permissions of the file.
    type: raw
    default: "0755"
  backup:
    description:
      - Keep the file that is replaced, with the time in its name.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says whether the file would change.
  diff_mode:
    support: full
    description: Shows the versions inside before and after.
notes:
  - "The pins are in C(plugins/plugin_utils/_wheels.py). A wheelhouse is filled on a machine with pip by the command in the second example:
    each library with the hash that is pinned, for the oldest Python that is supported."
  - Two libraries are replaced by a few lines. The host's own certificates stand in for certifi, and nothing guesses encodings.
  - msgpack in C is used when the host has it (for example Debian's python3-msgpack). The pure one inside reads snapshots about ten times slower.
seealso:
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
      idna==3.10 msgpack==1.1.2 python-consul2==0.1.5 requests==2.32.5 six==1.17.0 urllib3==2.6.3
    creates: /srv/wheelhouse/requests-2.32.5-py3-none-any.whl
  delegate_to: localhost

- name: Install the command from the wheelhouse
  consulops.failover.consulops_bundle:
    dest: /usr/local/lib/consulops/consulops.pyz
    wheelhouse: /srv/wheelhouse
  become: true

- name: A module on that host, with the libraries of the bundle
  consulops.failover.consul_snapshot:
    path: /var/backups/consul/
  environment:
    PYTHONPATH: /usr/local/lib/consulops/consulops.pyz
  become: true
"""

RETURN = r"""
bundle:
  description: What was built.
  returned: always
  type: dict
  contains:
    collection:
      description: The collection that it was built from.
      type: str
      sample: consulops.failover
    version:
      description: Its version.
      type: str
      sample: 1.2.0
    python:
      description: The Python versions that it runs on.
      type: str
      sample: ">=3.9"
    sources:
      description: SHA-256 over the sources of the collection inside.
      type: str
    libraries:
      description: Version and SHA-256 of each library inside, by name.
      type: dict
      sample: {"requests": {"version": "2.32.5", "sha256": "2462f946..."}}
    sha256:
      description: SHA-256 of the file.
      type: str
    size:
      description: Size of the file in bytes.
      type: int
dest:
  description: Where it is on the host.
  returned: success
  type: str
"""
