"""Running a model, or taking it apart, so that a failure or a hang names the layer and the operator."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

T = TypeVar("T")
_GRACE_S = 5.0


class _TimeUp(BaseException):
    """Raised inside a worker thread; no ``except Exception`` of a library swallows it."""


class _LastOperator(TorchFunctionMode):
    """Remembers the last operator that was called."""

    name = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.name = getattr(func, "__name__", str(func))
        return func(*args, **(kwargs or {}))


def named_failure(model: nn.Module, example_input: Tensor) -> None:
    """Run the model once, in evaluation mode and without gradients; a failure names layer and operator.

    Raises:
        ValueError: the forward pass fails.
    """
    inside: list[str] = []
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        hooks.append(module.register_forward_hook(lambda *_: inside.pop() and None))
    modes = {m: m.training for m in model.modules()}
    operator = _LastOperator()
    try:
        with torch.no_grad(), operator:
            model.eval()(example_input)
    except Exception as error:
        layer = inside[-1] if inside else ""
        kind = type(model.get_submodule(layer)).__name__
        where = f"the layer '{layer}' ({kind})" if layer else f"the model ({kind})"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shape = tuple(example_input.shape)
        raise ValueError(
            f"{where} fails in the operator '{operator.name}' on an input of shape {shape}: {reason}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for m, mode in modes.items():
            m.training = mode


def within_time_limit(work: Callable[[], T], limit_s: float, what: str) -> T:
    """Do the work in a thread of its own, and stop it when the limit is over.

    Works in any thread, unlike signals; what cannot be stopped (one long call inside C) is left behind as a
    daemon thread.

    Raises:
        ValueError: the limit is over (naming where the work stood) or the work itself failed.
    """
    done: dict[str, Any] = {}

    def run() -> None:
        try:
            done["result"] = work()
        except BaseException as error:
            done["error"] = error

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(limit_s)
    if worker.is_alive():
        place = _place(worker)
        _stop(worker)
        raise ValueError(f"{what} took longer than {limit_s:g} s{place}: leave such layers out of the search")
    if "error" in done:
        error = done["error"]
        raise ValueError(f"{what} failed: {type(error).__name__}: {error}") from error
    result: T = done["result"]
    return result


def _stop(worker: threading.Thread) -> None:
    """Raise inside the thread until it ends: a bare ``except`` may swallow the first."""
    for _ in range(int(_GRACE_S / 0.1)):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(worker.ident or 0), ctypes.py_object(_TimeUp)
        )
        worker.join(0.1)
        if not worker.is_alive():
            return


def _place(worker: threading.Thread) -> str:
    """Which layer and operator the thread's frames are about, as " at the layer ... in ...", or nothing."""
    frame = sys._current_frames().get(worker.ident or 0)
    while frame is not None:
        for value in frame.f_locals.values():
            node = getattr(value, "target", value)
            name = getattr(node, "name", None)
            if type(node).__name__ == "Node" and isinstance(name, str):
                return f", at '{name}'"
        frame = frame.f_back
    return ""
