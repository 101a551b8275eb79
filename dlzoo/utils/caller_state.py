"""What a run changes in its process, put back for a caller that goes on: a notebook, a script, a test."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import threading
import types
import warnings
from collections.abc import Iterator, Sequence

ENVIRONMENT = (
    "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "HYDRA_FULL_ERROR", "CUBLAS_WORKSPACE_CONFIG", "MASTER_ADDR", "MASTER_PORT",
    "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE",
)  # fmt: skip
"""Variables that seeding, deterministic algorithms, Hydra and the start of further processes set."""
LOGGERS = ("", "lightning.pytorch", "lightning.fabric")


@contextlib.contextmanager
def as_program(module: str, argv: Sequence[str]) -> Iterator[None]:
    """As if this process had been started as ``python -m module argv``: that is what further processes of a run are
    started as, and what workers import instead of a script, which would train again.
    """
    main, before = sys.modules["__main__"], sys.argv
    program = types.ModuleType("__main__")
    program.__spec__ = importlib.util.find_spec(module)
    sys.modules["__main__"], sys.argv = program, [module, *argv]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv = main, before


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Random numbers, deterministic algorithms, warnings, log levels, and the settings of Hydra and matplotlib are
    afterwards what they were before.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment())
        stack.enter_context(_hydra())
        stack.enter_context(_torch())
        stack.enter_context(style())
        stack.enter_context(warnings.catch_warnings())
        stack.callback(setattr, threading, "excepthook", threading.excepthook)
        for name in LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
        yield


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The settings of matplotlib are afterwards what they were before."""
    import matplotlib

    with matplotlib.rc_context():
        yield


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _hydra() -> Iterator[None]:
    """A caller may use Hydra itself."""
    from hydra.core.singleton import Singleton

    before = Singleton.get_state()
    try:
        yield
    finally:
        Singleton.set_state(before)


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    import torch
    import torch.distributed as dist

    from dlzoo.utils import rng

    state = rng.capture()
    deterministic = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    with_gradients = torch.is_grad_enabled()
    had_group = dist.is_available() and dist.is_initialized()
    try:
        yield
    finally:
        if dist.is_available() and dist.is_initialized() and not had_group:
            dist.destroy_process_group()  # its other processes have ended with the run
        rng.restore(state)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_grad_enabled(with_gradients)
