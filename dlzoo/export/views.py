"""The exportable view of a task: as the task describes it, with exportable recurrent layers."""

from __future__ import annotations

from dlzoo.errors import UserError
from dlzoo.export.scan_rnn import scanned
from dlzoo.tasks.base import Task
from dlzoo.tasks.views import View


def view_of(task: Task, part: str | None = None) -> View:
    """The exportable view of a part of the task.

    Args:
        part: a key of `Task.export_views`; None: the first.

    Raises:
        UserError: it has no such part, or cannot be exported.
    """
    views = task.export_views()
    if not views:
        raise UserError(f"{type(task).__name__} cannot be exported: it has no export_views()")
    name = part or next(iter(views))
    if name not in views:
        raise UserError(
            f"part={part}: the model ({type(task).__name__}) has no such part; what can be exported: {', '.join(views)}"
        )
    original = views[name]()
    view = scanned(original)
    object.__setattr__(view, "trained", original.trained)  # scanned() has copied it too
    view.part = name
    return view
