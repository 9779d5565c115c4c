"""The one place where torchvision is asked for data sets."""

from __future__ import annotations

from typing import Any

from raysearch.basics.failures import UserError


def torchvision_datasets() -> Any:
    """torchvision.datasets.

    Raises:
        ValueError: torchvision is not installed, or not for this torch.
    """
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f'this needs torchvision, which fails to import ({error}): pip install "raysearch[vision]"'
        ) from error
    return torchvision.datasets
