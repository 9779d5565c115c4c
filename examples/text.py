"""Compress a text classifier that takes token ids and a mask, in a mapping, and sentences of any length.

    python examples/text.py [TRIALS]

The sentences are made up: the words of each topic, among words that all topics share.
"""

import random
import sys

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import raysearch as rs
from raysearch import search_spaces as spaces

TOPICS = {
    "sport": "match team goal player league coach score win ball season cup race",
    "money": "bank market share price profit trade stock tax loan fund rate cash",
    "weather": "rain wind storm cloud sun snow heat cold fog frost sky thunder",
}
SHARED = "the a of and to in it is was for on with as at by this that from or an"
WORDS = ["<pad>", *" ".join([SHARED, *TOPICS.values()]).split()]
NUMBER = {word: i for i, word in enumerate(WORDS)}


class Classifier(nn.Module):
    """Embeds words, mixes neighbours, and classifies the mean over those that the mask keeps."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), width, padding_idx=0)
        self.mix = nn.Conv1d(width, width, 3, padding=1)
        self.hidden, self.head = nn.Linear(width, width), nn.Linear(width, len(TOPICS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (n, topics) of ids and mask (n, words)."""
        kept = mask.unsqueeze(1).float()
        x = torch.relu(self.mix(self.embed(ids).transpose(1, 2))) * kept
        return self.head(torch.relu(self.hidden(x.sum(2) / kept.sum(2).clamp(min=1))))


def sentences(n: int, seed: int) -> list[tuple[Tensor, int]]:
    """So many sentences of 5 to 20 words, as ids, with their topics."""
    chance = random.Random(seed)
    made = []
    for i in range(n):
        topic = i % len(TOPICS)
        own, others = list(TOPICS.values())[topic], " ".join(TOPICS.values())
        kinds = chance.choices([SHARED, own, others], weights=[6, 2, 2], k=chance.randint(5, 20))
        words = [NUMBER[chance.choice(kind.split())] for kind in kinds]
        made.append((torch.tensor(words), topic))
    return made


def collate(examples: list[tuple[Tensor, int]]) -> tuple[dict[str, Tensor], Tensor]:
    """A batch as long as its longest sentence."""
    ids = pad_sequence([words for words, _ in examples], batch_first=True)
    return {"ids": ids, "mask": (ids > 0).long()}, torch.tensor([topic for _, topic in examples])


def main(trials: int) -> None:
    """Search, and print the front."""
    torch.manual_seed(0)
    task = rs.Task(
        Classifier(),
        train=sentences(900, seed=0),
        validation=sentences(300, seed=1),
        test=sentences(300, seed=2),
        collate=collate,
        varying={"ids": {1: "length"}, "mask": {1: "length"}},
        name="text",
    )
    study = rs.Study(
        task,
        space={
            "pruning": spaces.channel_pruning(max_ratio=0.8),
            "bits": spaces.bit_widths(weights=(4, 8, 32), activations=(8, 32)),
        },
        objectives=["maximize accuracy", "minimize size_mb"],
        epochs=4,
    )
    result = study.run(num_trials=trials)
    print(result.front[["trial", "accuracy", "size_mb", "latency_ms/onnxruntime-cpu"]].to_string(index=False))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
