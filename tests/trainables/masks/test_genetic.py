import numpy as np
import pytest
from hidden_mask import TARGET, Hidden

from raysearch.trainables.masks.genetic import Genetic


def test_the_best_stay_so_that_the_best_is_never_lost():
    landscape, best = Hidden(), []
    plain = landscape.costs

    def costs(masks):
        found = plain(masks)
        best.append(found.min())
        return found

    landscape.costs = costs
    walk = Genetic(population=6, elite=1).run(landscape, ~TARGET, 300, np.random.default_rng(1))
    assert walk.cost == min(best)
    assert [cost for _, cost in walk.curve] == list(np.minimum.accumulate(best))


def test_mutations_shrink_to_a_unit_where_nothing_better_is_found():
    landscape = Hidden()
    shares = []
    plain = landscape.neighbour
    landscape.neighbour = lambda mask, share, rng: shares.append(share) or plain(mask, share, rng)
    Genetic(population=4, elite=2, share=0.4, decay=0.5).run(
        landscape, TARGET.copy(), 40, np.random.default_rng(0)
    )
    assert shares[0] == 0.4
    assert shares[-1] == 1 / len(TARGET)
    assert sorted(shares, reverse=True) == shares


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 2}, "population is 2"),
        ({"elite": 12}, "elite is 12: give from 1 to 11"),
        ({"decay": -1}, "decay is -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Genetic(**options)
