from __future__ import annotations

import pytest

from raysearch.trainables.models.sizes import check_sizes


def test_the_least_is_one_channel_and_two_classes() -> None:
    check_sizes(1, 2)
    for channels, classes in ((0, 2), (1, 1)):
        with pytest.raises(ValueError, match=f"{channels} input channels and {classes} classes: give"):
            check_sizes(channels, classes)
