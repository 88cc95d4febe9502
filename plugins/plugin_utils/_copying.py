# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends content that an action made on the controller to the host, with ansible.builtin.copy."""

from __future__ import annotations

import tempfile
import typing as t

from ansible.plugins.action import ActionBase


def copy_content(
    action: ActionBase, content: bytes, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None
) -> dict[str, t.Any]:
    """Return the result of copy with these ``options``, without a diff, which would show the content of a zip file."""
    with tempfile.NamedTemporaryFile() as source:
        source.write(content)
        source.flush()
        task = action._task.copy()
        task.diff = False
        task.args = {**options, "src": source.name}
        copy = action._shared_loader_obj.action_loader.get(
            "ansible.builtin.copy",
            task=task,
            connection=action._connection,
            play_context=action._play_context,
            loader=action._loader,
            templar=action._templar,
            shared_loader_obj=action._shared_loader_obj,
        )
        result: dict[str, t.Any] = copy.run(task_vars=task_vars)
    return result
