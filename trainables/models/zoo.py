"""torchvision's models by name."""

from __future__ import annotations

from torch import nn

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean


def torchvision_model(name: str, classes: int, weights: str | None = None) -> nn.Module:
    """A classification model of torchvision's, its last layer replaced where the classes are others.

    Args:
        name: such as "resnet18" or "mobilenet_v2".
        classes: how many logits.
        weights: such as "DEFAULT" for torchvision's trained weights; None starts afresh. The last layer of
            trained weights is drawn anew where their classes are not as many.

    Raises:
        ValueError: torchvision is missing, or knows no such model or weights.
    """
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
    if weights is None:
        fresh: nn.Module = models.get_model(name, weights=None, num_classes=classes)
        return fresh
    try:
        model: nn.Module = models.get_model(name, weights=weights)
    except (ValueError, KeyError) as error:
        raise UserError(f"torchvision has no weights {weights!r} for {name!r}: {error}") from error
    _replace_head(model, classes)
    return model


def _replace_head(model: nn.Module, classes: int) -> None:
    """Draw the last linear layer or convolution anew with ``classes`` outputs, unless it has them."""
    name, head = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    if isinstance(head, nn.Linear):
        fresh: nn.Module = nn.Linear(head.in_features, classes, bias=head.bias is not None)
        same = head.out_features == classes
    else:
        fresh = nn.Conv2d(head.in_channels, classes, head.kernel_size)  # type: ignore[arg-type]
        same = head.out_channels == classes
    if not same:
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, fresh)
