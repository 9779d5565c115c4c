import numpy as np
import pytest
from hidden_mask import Hidden

from raysearch.trainables.masks.annealing import Annealing


def test_worse_masks_are_accepted_only_while_it_is_hot():
    def accepted(temperature):
        """How often a walk from the best mask there is leaves it."""
        method = Annealing(batch=1, temperature=temperature, cooling=1.0, share=1 / 40)
        landscape, left = Hidden(), 0
        for seed in range(60):
            landscape.neighbour = lambda mask, share, rng: np.r_[~mask[:1], mask[1:]]
            seen = []
            landscape.costs = lambda masks, seen=seen: (
                seen.append(masks[0, 0]),
                np.where(masks[:, 0], 1.0, 1.1),
            )[1]
            method.run(landscape, np.ones(40, bool), 3, np.random.default_rng(seed))
            left += seen[-1]  # the third is back at the best: the second was accepted
        return left / 60

    assert accepted(1e-6) == 0
    assert 0.2 < accepted(0.1) < 0.6  # exp(-1) is .37
    assert accepted(100) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"temperature": 0}, "temperature is 0"),
        ({"share": 0}, r"share is 0: give a number in \(0, 1\]"),
        ({"cooling": 1.5}, "cooling is 1.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Annealing(**options)
