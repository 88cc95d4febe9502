# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a task as an Ansible module and turns typed errors into ``fail_json``. No other file of module_utils imports Ansible."""

from __future__ import annotations

import gc

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._consul import errors
from ._tasks.task import Invocation, Task


def run(task: Task) -> None:
    """Run a task as a module: its result goes to ``exit_json``, a typed error to ``fail_json`` as one sentence."""
    # Imported modules live until the process ends. Collecting garbage among them, also three times at exit, takes a tenth of
    # the time of a module that has nothing to do.
    gc.freeze()
    module = AnsibleModule(
        argument_spec=task.spec,
        mutually_exclusive=task.mutually_exclusive,
        supports_check_mode=True,
    )
    # Ansible masks secrets that were given as options; secrets from files and variables must be masked as well.
    invocation = Invocation(module.params, module.check_mode, module.warn, module.no_log_values.update)
    try:
        result = task.run(invocation)
    except errors.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.import_error)
    except errors.Error as error:
        module.fail_json(msg=f"{module._name.rpartition('.')[2]}: {error}", **error.details)
    module.exit_json(**result)
