"""Automatic mixed precision: the network computes in half precision, weights and losses stay in float32.

References:
    Micikevicius, P., et al. (2018). Mixed precision training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError, first_line
from raysearch.networks.nests import Nest, call, map_tensors, to_device
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.task import Task
from raysearch.trainables.training.distillation import Forward, plain_loss

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(forward: Forward, precision: str, device: torch.device) -> Forward:
    """The forward pass in a precision.

    Args:
        forward: runs a module on inputs.
        precision: "float32" leaves it as it is; in "bf16" and "fp16" torch decides by the operator which are
            computed in half precision, and the outputs are float32 again, so that losses are too.
        device: where the module is.
    """
    if precision not in HALF:
        return forward

    def run(module: nn.Module, inputs: Nest) -> Nest:
        with torch.autocast(device.type, dtype=HALF[precision]):
            outputs = forward(module, inputs)
        return map_tensors(_whole, outputs)

    return run


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """What keeps gradients from vanishing in float16, whose smallest number is 6e-8; None elsewhere."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None


def check_device(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not have.

    Raises:
        ValueError: it is bfloat16, and the GPU has none.
    """
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise UserError(
            f"training/precision is 'bf16', which the GPU ({torch.cuda.get_device_name(device)}) does not "
            "have: give 'fp16' or 'float32'"
        )


def check_precision(task: Task, plan: Architecture | None, precision: str, device: torch.device) -> None:
    """Refuse half precision in which a task's network cannot be trained, by a step without the step.

    Which operators a processor or torch has in half precision is found by running them: in float16 an LSTM
    has none on many CPUs. A network that does not run in float32 either is not this check's to refuse.

    Args:
        task: is left as it is.
        plan: of the architecture, where the model is made from one.
        precision: one of ``PRECISIONS``.
        device: where trials train.

    Raises:
        ValueError: it cannot.
    """
    if precision not in HALF:
        return
    check_device(precision, device)
    model, (inputs, targets) = task.build(plan).to(device).train(), to_device(task.example(2), device)
    for each in ("float32", precision):
        try:
            loss = plain_loss(task.loss, in_precision(call, each, device))(model, inputs, targets)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        except (
            Exception
        ) as error:  # torch's own errors share no base class, and the task's own code runs here
            if each == "float32":
                return
            where = "the GPU" if device.type == "cuda" else "the CPU"
            raise UserError(
                f"training/precision is {precision!r}, in which the network cannot be trained on {where} "
                f"({first_line(error)}): give another of {', '.join(('float32', *HALF))}"
            ) from error


def _whole(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF.values() else tensor
