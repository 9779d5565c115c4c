"""torchvision's models by name."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.trainables.models.weights_file import is_file, load_weights


def torchvision_model(name: str, classes: int, weights: str | Path | None = None) -> nn.Module:
    """A classification model of torchvision's, its last layer replaced where the classes are others.

    Args:
        name: such as "resnet18" or "mobilenet_v2".
        classes: how many logits.
        weights: such as "DEFAULT" for torchvision's trained weights, or a local file of them, .pth, .pt or
            .safetensors; None starts afresh. The last layer of trained weights is drawn anew where their
            classes are not as many.

    Raises:
        ValueError: torchvision is missing, or knows no such model or weights; or the file is missing, or is
            not of this model.
    """
    return torchvision_trained(name, classes, weights)[0]


def torchvision_trained(name: str, classes: int, weights: str | Path | None = None) -> tuple[nn.Module, bool]:
    """The same, and whether all of it is trained: no weights are fresh, those of the last layer neither."""
    try:
        import torchvision.models as models
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"the model {name!r} needs torchvision, which fails to import ({error}): "
            'pip install "raysearch[vision]"'
        ) from error
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"torchvision has no model {name!r}; {did_you_mean(name, known)}")
    if weights is None or is_file(weights):
        fresh: nn.Module = models.get_model(name, weights=None, num_classes=classes)
        return fresh, weights is not None and load_weights(fresh, weights, _head(fresh)[0], classes)
    try:
        model: nn.Module = models.get_model(name, weights=weights)
    except (ValueError, KeyError) as error:
        raise UserError(f"torchvision has no weights {weights!r} for {name!r}: {error}") from error
    return model, not _replace_head(model, classes)


def _head(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The last linear layer or convolution, and its name."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]


def _replace_head(model: nn.Module, classes: int) -> bool:
    """Draw the last linear layer or convolution anew with ``classes`` outputs, unless it has them.

    Returns:
        Whether it was drawn.
    """
    name, head = _head(model)
    if isinstance(head, nn.Linear):
        fresh: nn.Module = nn.Linear(head.in_features, classes, bias=head.bias is not None)
        same = head.out_features == classes
    else:
        fresh = nn.Conv2d(head.in_channels, classes, head.kernel_size)  # type: ignore[arg-type]
        same = head.out_channels == classes
    if not same:
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, fresh)
    return not same
