#!/usr/bin/python
# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: consul_data_copy
short_description: Copies a stopped Consul's data directory, whole or not at all
version_added: 1.3.0
author:
  - The consulops.failover founders (@consulops)
description:
  - Copies a directory with its owners, rights and times into a new directory C(DATE/data) below O(dest), which only root can enter.
  - Nothing is copied while there is a copy of the directory as it is. A copy that was cut off is removed.
  - Whether the copy fits is looked at before. The copy is compared with the directory after it.
options:
  src:
    description:
      - The data directory. Nothing may write to it.
    type: path
    required: true
  dest:
    description:
      - Directory for the copies, not in O(src).
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Looks whether the copy fits, and reports whether there would be one.
  diff_mode:
    support: none
    description: The files are not compared by content.
"""

EXAMPLES = r"""
- name: Keep the data directory as it is
  become: true
  consulops.failover.consul_data_copy:
    src: /opt/consul
    dest: /opt/consul-copies
"""

RETURN = r"""
path:
  description: The directory of the copy, null in check mode if there is none.
  returned: success
  type: str
  sample: /opt/consul-copies/20261128T224000Z
"""

from ansible_collections.consulops.failover.plugins.module_utils._ansible import run
from ansible_collections.consulops.failover.plugins.module_utils._tasks.data_copy import DATA_COPY


def main() -> None:
    run(DATA_COPY)


if __name__ == "__main__":
    main()
