"""Training settings: plain Tune domains or constants under these keys, and the plan they decode to.

References:
    Smith, L. N., & Topin, N. (2019). Super-convergence: very fast training of neural networks using large
        learning rates.
    Chen, T., Xu, B., Zhang, C., & Guestrin, C. (2016). Training deep nets with sublinear memory cost.
    Zhang, H., Cisse, M., Dauphin, Y. N., & Lopez-Paz, D. (2018). mixup: beyond empirical risk minimization.
    Zhuang, B., Shen, C., Tan, M., Liu, L., & Reid, I. (2018). Towards effective low-bitwidth convolutional
        neural networks. (progressive quantisation)
    Tan, M., & Le, Q. V. (2021). EfficientNetV2: smaller models and faster training. (progressive learning)
    Teerapittayanon, S., McDanel, B., & Kung, H. T. (2016). BranchyNet: fast inference via early exiting from
        deep neural networks. (joint training of exits)
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.keys import as_float, as_integer, as_mapping, check_keys, part_of

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "onecycle", "constant")
PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class TrainingPlan:
    """How a trial trains; each field is a key of the space's "training".

    Args:
        lr: peak learning rate in the float part.
        batch_size: examples a batch.
        weight_decay: AdamW's decoupled weight decay, or SGD's factor on the weights in the gradient, >= 0.
        label_smoothing: of the labels' cross entropy, in [0, 1).
        quantized_share: share of the epochs trained quantised, in (0, 1], where any layer has under 32 bits.
        quantized_lr: peak learning rate of the quantised part as a factor on ``lr``.
        optimizer: "adamw", or "sgd" with Nesterov's momentum.
        momentum: of SGD, in [0, 1); 0: plain SGD.
        schedule: how the learning rate goes on after its warm-up, in each part of the training: "cosine"
            falls to 0; "onecycle" (Smith & Topin, 2019) rises as a cosine too, from a 25th of the peak, and a
            ``warmup`` of 0.3 is usual with it; "constant" stays.
        warmup: share of each part's epochs in which the learning rate rises, in [0, 1).
        clip_norm: the norm that a step's gradient is scaled down to where it is larger; 0: none.
        accumulate: batches whose gradients one step takes together, >= 1; with two, steps are those of
            batches twice as large, up to batch norm. What an epoch's end leaves over is a step of its own.
        precision: that the network computes in while it trains: "float32", or "bf16" or "fp16" by torch's
            automatic mixed precision. Weights, losses, quantisers and all figures stay in float32.
        checkpointing: compute activations again for the gradient instead of keeping them (Chen et al., 2016):
            the same training with less memory, in about a third more time.
        ema: decay a step of an average of the weights, in [0, 1), over about 1 / (1 - ema) steps, which is
            evaluated and deployed in their place; 0: none. It starts with each part of the training.
        mixup: alpha of the Beta distribution by which examples, and their losses, are mixed in pairs (Zhang
            et al., 2018), >= 0; 0: none. Inputs that are no floats (tokens, masks) stay as they are.
        layer_lr: factors >= 0 on the learning rate by layer or part, such as {"stem": 0.1}, the innermost one
            counts; 0: its weights stay as they are. A quantiser of weights learns with them, one of
            activations, which stand between layers, at the rate itself.
        bit_stages: 1: the quantised part has the bits that are chosen from its start; 2: where those are
            fewer than 8 its first half has 8 (Zhuang et al., 2018).
        first_size: share of the inputs' height and width (of whatever axes lie behind batch and channels)
            with which the float part begins, in (0, 1]; it grows evenly to 1 (Tan & Le, 2021), which it is
            after two thirds. The model must take inputs of other sizes.
        exit_weight: of an early exit's loss beside that of the network's end, > 0, in their weighted mean
            (Teerapittayanon et al., 2016).
        exit_budget: the mean latency to keep to by leaving early, as a share in (0, 1] of the latency of the
            network run to its end; 0: no budget is asked, and as many inputs leave as can without fewer right
            classes on the validation split.
    """

    lr: float = 3e-3
    batch_size: int = 64
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    quantized_share: float = 1 / 3
    quantized_lr: float = 0.1
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: float = 0.05
    clip_norm: float = 5.0
    accumulate: int = 1
    precision: str = "float32"
    checkpointing: bool = False
    ema: float = 0.0
    mixup: float = 0.0
    layer_lr: Mapping[str, float] = field(default_factory=dict)
    bit_stages: int = 1
    first_size: float = 1.0
    exit_weight: float = 0.5
    exit_budget: float = 0.0

    def __post_init__(self) -> None:
        for key in ("lr", "quantized_lr", "exit_weight"):
            if not 0 < getattr(self, key) < math.inf:
                raise UserError(f"training/{key} is {getattr(self, key)}: it must be positive and finite")
        for key in ("batch_size", "accumulate"):
            if getattr(self, key) < 1:
                raise UserError(f"training/{key} is {getattr(self, key)}: it must be at least 1")
        for key in ("weight_decay", "clip_norm", "mixup"):
            if not 0 <= getattr(self, key) < math.inf:
                raise UserError(f"training/{key} is {getattr(self, key)}: it must be finite, at least 0")
        for key in ("label_smoothing", "momentum", "ema"):
            if not 0 <= getattr(self, key) < 1:
                raise UserError(f"training/{key} is {getattr(self, key)}, not in [0, 1)")
        if not 0 <= self.warmup < 1:
            raise UserError(f"training/warmup is {self.warmup}, not in [0, 1): give a share of the epochs")
        if not 0 < self.quantized_share <= 1:
            raise UserError(f"training/quantized_share is {self.quantized_share}, not in (0, 1]")
        if self.bit_stages not in (1, 2):
            raise UserError(f"training/bit_stages is {self.bit_stages}: give 1 or 2")
        if not 0 < self.first_size <= 1:
            raise UserError(f"training/first_size is {self.first_size}, not in (0, 1]")
        if not 0 <= self.exit_budget <= 1:
            raise UserError(
                f"training/exit_budget is {self.exit_budget}, not in [0, 1]: give a share of the latency"
            )
        for part, factor in self.layer_lr.items():
            if not 0 <= factor < math.inf:
                raise UserError(f"training/layer_lr/{part} is {factor}: it must be finite, at least 0")


KEYS = tuple(f.name for f in fields(TrainingPlan))
# They are in every canonical form; of all others only what is not at its default, so that the variants, and
# with them the seeds, of studies from before those settings are the same.
_ALWAYS_SAID = KEYS[:6]
_QUANTIZED_ONLY = ("quantized_share", "quantized_lr")
_EXITS_ONLY = ("exit_weight", "exit_budget")
_DEFAULTS = TrainingPlan()
_WHOLE = ("batch_size", "accumulate", "bit_stages")
_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}


def decode_training(
    config: Mapping[str, Any], quantized: bool, *, low: bool = False, exits: bool = False
) -> TrainingPlan:
    """The plan of a training config; what is absent or inactive takes its default.

    Args:
        config: values under ``KEYS``.
        quantized: whether any layer is quantised; if not, the settings of the quantised part are inactive.
        low: whether any has fewer than 8 bits; if not, there is one stage of bits.
        exits: whether the network may be left early; if not, the settings of exits are inactive.

    Raises:
        ValueError: an unknown key (with the nearest known one) or a value out of range.
    """
    check_keys(config, KEYS, "training")
    plan = TrainingPlan(**{key: _decoded(key, value) for key, value in config.items()})
    inactive = [key for key in KEYS if not is_active(key, plan, quantized, low=low, exits=exits)]
    return replace(plan, **{key: getattr(_DEFAULTS, key) for key in inactive})


def encode_training(
    plan: TrainingPlan, quantized: bool, *, low: bool = False, exits: bool = False
) -> dict[str, Any]:
    """The canonical config of a plan, without the inactive settings."""
    return {
        key: value
        for key, value in asdict(plan).items()
        if is_active(key, plan, quantized, low=low, exits=exits)
        and (key in _ALWAYS_SAID or value != getattr(_DEFAULTS, key))
    }


def is_active(
    key: str, plan: TrainingPlan, quantized: bool, *, low: bool = False, exits: bool = False
) -> bool:
    """Whether a setting has an effect beside the others of its plan."""
    if key in _EXITS_ONLY:
        return exits
    if key == "bit_stages":
        return quantized and low
    if key == "momentum":
        return plan.optimizer == "sgd"
    return key not in _QUANTIZED_ONLY or quantized


def with_parts(plan: TrainingPlan, built: Container[str] | None) -> TrainingPlan:
    """The plan without what it says of learning rates to no effect.

    Args:
        plan: its ``layer_lr`` may name parts that are not there, or repeat what holds anyway.
        built: the parts that there are; None: all that it names.
    """
    own = {part: f for part, f in plan.layer_lr.items() if built is None or part in built}
    return replace(plan, layer_lr={p: f for p, f in own.items() if f != factor_of(p.rpartition(".")[0], own)})


def factor_of(name: str, factors: Mapping[str, float]) -> float:
    """The factor on the learning rate of a layer, a part or a parameter: the innermost one, or 1."""
    part = part_of(name, factors)
    return 1.0 if part is None else factors[part]


def _decoded(key: str, value: Any) -> Any:
    where = f"training/{key}"
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise UserError(f"{where} is {value!r}; {did_you_mean(str(value), _CHOICES[key])}")
        return value
    if key == "checkpointing":
        if not isinstance(value, bool):
            raise UserError(f"{where} is {value!r}: give true or false")
        return value
    if key == "layer_lr":
        return {part: as_float(v, f"{where}/{part}") for part, v in as_mapping(value, where).items()}
    return as_integer(value, where) if key in _WHOLE else as_float(value, where)
