"""A landscape of masks whose best one is known: what the tests of the searches share."""

import numpy as np

TARGET = np.random.default_rng(9).random(40) < 0.5


class Hidden:
    """The cost is the share of units unlike the target's; with ``look``, each iteration adds its own."""

    def __init__(self, look=0):
        self.look, self.evaluated, self.shift = look, 0, 0.0

    def costs(self, masks):
        self.evaluated += len(masks)
        return (masks != TARGET).mean(axis=1) + self.shift + 1.0

    def advance(self, mask, rng):
        self.evaluated += self.look
        if self.look:
            self.shift = 10 * rng.random()

    def neighbour(self, mask, share, rng):
        changed = mask.copy()
        changed[rng.choice(40, max(1, round(share * 40)), replace=False)] ^= True
        return changed

    def cross(self, one, other, rng):
        return np.where(rng.random(40) < 0.5, one, other)


def distance(mask):
    """The share of units unlike the hidden mask's."""
    return (mask != TARGET).mean()
