# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only file here that knows Ansible: a task of ours as a module, and typed errors as ``fail_json``."""

from __future__ import annotations

import gc

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._consul import errors
from ._tasks.call import Call, Task


def run(task: Task) -> None:
    """Run a task as a module: its result is what Ansible gets, every error that we know becomes one sentence."""
    # What is imported stays until the end. To look for garbage in it, during the work and three times at the end, takes a tenth
    # of the time of a module that finds nothing to do.
    gc.freeze()
    module = AnsibleModule(
        argument_spec=task.spec,
        mutually_exclusive=task.mutually_exclusive,
        supports_check_mode=True,
    )
    # Ansible masks what came as an option; what came from a file or the environment is as secret.
    call = Call(module.params, module.check_mode, module.warn, module.no_log_values.update)
    try:
        result = task.work(call)
    except errors.MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.import_error)
    except errors.Error as error:
        module.fail_json(msg=f"{module._name.rpartition('.')[2]}: {error}", **error.details)
    module.exit_json(**result)
