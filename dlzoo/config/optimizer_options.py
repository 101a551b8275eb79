"""Values of PyTorch's optimizers that their signatures accept, but that no run of dlzoo can use.

PyTorch looks at most of them only in the first step, and some then end in an error of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlzoo.config.bounds import Bounds
from dlzoo.errors import UserError, short

LINE_SEARCHES = (None, "strong_wolfe")
"""Of L-BFGS, which looks at this option only in a step."""
BOUNDS = {"history_size": Bounds(1), "max_iter": Bounds(1), "max_eval": Bounds(1)}
"""Of L-BFGS."""
WITHOUT_USE = {
    "differentiable": "differentiates through the steps, which no run of dlzoo does",
    "capturable": "is for steps in a CUDA graph, which no run of dlzoo records",
}


def check(optimizer: object) -> None:
    """`UserError` for an option of the optimizer that no run can use; wrong types are reported elsewhere."""
    options = optimizer if isinstance(optimizer, Mapping) else {}
    for name, reason in WITHOUT_USE.items():
        if options.get(name) is True:
            raise UserError(f"optimizer.{name}=true {reason}; omit it")
    for name, bounds in BOUNDS.items():
        bounds.check(f"optimizer.{name}", options.get(name))
    search = options.get("line_search_fn")
    if search not in LINE_SEARCHES:
        raise UserError(f"optimizer.line_search_fn={short(search)} must be strong_wolfe, or null")
