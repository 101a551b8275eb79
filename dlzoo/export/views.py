"""The view of a task that a file is made from: as the task describes it, with recurrent layers that can be exported."""

from __future__ import annotations

from dlzoo.errors import UserError
from dlzoo.export.scan_rnn import scanned
from dlzoo.tasks.base import Task
from dlzoo.tasks.views import View


def view_of(task: Task, part: str | None = None) -> View:
    """How the task is used outside.

    Args:
        part: of `Task.export_views`; None is the first.

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
    described = views[name]()
    view = scanned(described)
    object.__setattr__(view, "trained", described.trained)  # scanned() has copied it as well
    view.part = name
    return view
