"""Compress a trained network in seven variables with a plain Tuner: what is pruned, how, and quantisation.

    python examples/surrogate_compression.py [TRIALS]

A small VGG-style network learns the digits, then the surrogate-assisted search looks for the fewest non-zero
weights at the highest accuracy, at most 0.03 below the parent's.
"""

import sys

import torch
from ray import tune

from raysearch.objectives import Goals
from raysearch.search_spaces.pruning.one_shot import OneShotPlan, decode_one_shot, one_shot, one_shot_identity
from raysearch.searchers.surrogate.surrogate_assisted import SurrogateAssisted
from raysearch.searchers.tune import TuneSearcher, parameters_of
from raysearch.trainables.data.digits import digits
from raysearch.trainables.models.vgg import build_vgg
from raysearch.trainables.pruning.one_shot import measure_compressed
from raysearch.trainables.task import cross_entropy
from raysearch.trainables.training.epoch import train_epoch

EPOCHS = 8


def train(splits):
    """A trained network."""
    torch.manual_seed(0)
    net = build_vgg(((8, 8), (16, 16), (32, 32)), (64, 64), in_channels=1, classes=10)
    optimizer = torch.optim.AdamW(net.parameters())
    for epoch in range(EPOCHS):
        train_epoch(
            net,
            splits.train,
            lambda module, x, y: cross_entropy(module(x), y),
            optimizer,
            batch_size=64,
            lr=lambda share, epoch=epoch: 3e-3 * (1 - (epoch + share) / EPOCHS),
            generator=torch.Generator().manual_seed(epoch),
        )
    return net


def evaluate(config, net, splits):
    """One trial."""
    return measure_compressed(net, decode_one_shot(config), splits.validation)


def main(trials):
    """Train, search, print the front."""
    splits = digits()
    net = train(splits)
    parent = measure_compressed(net, OneShotPlan(), splits.validation)
    goals = Goals.parse(
        ["minimize nonzero_rate", "maximize accuracy"], ["accuracy >= parent - 0.03"], parent={1: parent}
    )
    searcher = SurrogateAssisted(
        parameters_of(one_shot()),
        goals,
        identity=one_shot_identity,
        initial_designs=trials // 2,
        generations=50,
        candidates=("knn", "forest"),
    )
    results = tune.Tuner(
        tune.with_parameters(evaluate, net=net, splits=splits),
        param_space=one_shot(),
        tune_config=tune.TuneConfig(search_alg=TuneSearcher(searcher), num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(verbose=0),
    ).fit()
    table = results.get_dataframe()
    kept = table[table.accuracy >= parent["accuracy"] - 0.03].sort_values("nonzero_rate")
    front = kept[kept.accuracy > kept.accuracy.shift(fill_value=0).cummax()]
    print(f"parent: accuracy {parent['accuracy']:.3f}")
    print(
        front[["nonzero_rate", "accuracy", *sorted(c for c in table if c.startswith("config/"))]].to_string()
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
