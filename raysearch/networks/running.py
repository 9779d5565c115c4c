"""Running a model, or taking it apart, so that a failure or a hang names the layer and the operator."""

from __future__ import annotations

import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from raysearch.basics.failures import UserError, failure
from raysearch.networks.nests import Nest, call, device_of, tensors, to_device

T = TypeVar("T")
_GRACE_S = 5.0


class _TimeUp(BaseException):
    """Raised inside a worker thread; no ``except Exception`` of a library swallows it."""


class TimeLimitExceeded(UserError):
    """Work on a user's network was stopped at its limit; one long call inside C may go on in this process."""


class _LastOperator(TorchFunctionMode):
    """Remembers the last operator that was called."""

    name = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.name = getattr(func, "__name__", str(func))
        return func(*args, **(kwargs or {}))


def check_runs(model: nn.Module, inputs: Nest) -> None:
    """Run the model once, in evaluation mode and without gradients; a failure names layer and operator.

    Raises:
        ValueError: the forward pass fails.
    """
    inside: list[str] = []  # the layers being run, innermost last
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        hooks.append(module.register_forward_hook(_leave(inside)))
    modes = {m: m.training for m in model.modules()}
    inputs = to_device(inputs, device_of(model))
    operator = _LastOperator()
    try:
        with torch.no_grad(), operator:
            call(model.eval(), inputs)
    except Exception as error:
        layer = inside[-1] if inside else ""
        kind = type(model.get_submodule(layer)).__name__
        where = f"the layer '{layer}' ({kind})" if layer else f"the model ({kind})"
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors(inputs))
        raise UserError(
            f"{where} fails at the operator '{operator.name}' on an input of shape {shapes}: {failure(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for m, mode in modes.items():
            m.training = mode


def _leave(inside: list[str]) -> Callable[..., None]:
    def leave(*_: Any) -> None:
        inside.pop()

    return leave


def within_time_limit(work: Callable[[], T], limit_s: float, what: str) -> T:
    """Do the work as ``run_limited`` does; its own failure, too, is a ValueError that names the place.

    Raises:
        ValueError: the limit is over (naming where the work stood) or the work itself failed.
    """
    try:
        return run_limited(work, limit_s, what)
    except TimeLimitExceeded:
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]
        raise UserError(f"{what} failed{_place(frames)}: {type(error).__name__}: {error}") from error


def run_limited(work: Callable[[], T], limit_s: float, what: str) -> T:
    """Do the work in a thread of its own, and stop it when the limit is over.

    Works in any thread, unlike signals; what cannot be stopped (one long call inside C) is left behind as a
    daemon thread.

    Raises:
        TimeLimitExceeded: the limit is over; the message names where the work stood.
        Exception: whatever the work itself raises.
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
        frame = sys._current_frames().get(worker.ident or 0)
        place = _place(_stack(frame)) or _forward(_stack(frame))
        del frame
        _stop(worker)
        raise TimeLimitExceeded(f"{what} took longer than {limit_s:g} s{place}")
    if "error" in done:
        raise done["error"]
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


def _stack(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _place(frames: list[FrameType]) -> str:
    """Where torch-pruning stands, read from its frames, innermost first: ", at the layer ... in ..."."""
    nodes = [
        (local, getattr(value, "target", value))
        for frame in frames
        for local, value in frame.f_locals.items()
        if type(getattr(value, "target", value)).__name__ == "Node"
    ]
    roots = [node.name for local, node in nodes if local == "root_node"]
    layer = roots[0].split(" ")[0] if roots else _layer_before(nodes[0][1]) if nodes else None
    where = f", at the layer '{layer}'" if layer else ""
    return where + (f", in the operator '{nodes[0][1].name.split(' ')[0]}'" if nodes else "")


def _forward(frames: list[FrameType]) -> str:
    """In whose forward pass the work stands: ", in Net.forward (net.py, line 12)"."""
    for frame in frames:
        module = frame.f_locals.get("self")
        if frame.f_code.co_name == "forward" and isinstance(module, nn.Module):
            file = Path(frame.f_code.co_filename).name
            return f", in {type(module).__name__}.forward ({file}, line {frame.f_lineno})"
    return ""


def _layer_before(node: Any) -> str | None:
    """The nearest layer upstream of an operator in torch-pruning's graph."""
    queue, seen = [node], set()
    while queue:
        node = queue.pop(0)
        if not node.name.startswith("_"):
            return str(node.name.split(" ")[0])
        seen.add(node)
        queue += [n for n in node.inputs if n not in seen]
    return None
