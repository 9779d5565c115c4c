"""Models of sequences: convolutions over time, recurrent ones, transformers, token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from benchmarks.own_models.case import SIZES, Case, accuracy, splits, tinted
from raysearch import Task

WORDS, PAD = 24, 0


class Conv1dNet(nn.Module):
    """Convolutions over time, and the mean over it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 16, 5, padding=2), nn.Conv1d(16, 32, 3, padding=1)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        return self.head(F.relu(self.second(x)).mean(-1))


class Recurrent(nn.Module):
    """A recurrent layer whose last state is classified."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = layer
        self.hidden = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        return self.head(torch.relu(self.hidden(states[:, -1])))


class TransformerEncoder(nn.Module):
    """torch's own encoder over projected steps."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.project(x)).mean(1))


class TokenMean(nn.Module):
    """Linear layers over tokens, batch norm over their features, dropout as a function, the tokens' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 32), nn.Linear(32, 16), nn.Linear(16, 4)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 8, "eight tokens"
        x = F.dropout(F.gelu(self.norm(self.first(x))), 0.1, training=self.training)
        return self.head(torch.relu(self.second(x)).mean(1))


class TextClassifier(nn.Module):
    """The mean over those tokens that the mask keeps, of embeddings or a recurrent layer's states."""

    def __init__(self, recurrent: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 16, padding_idx=PAD)
        self.recurrent = nn.LSTM(16, 16, batch_first=True) if recurrent else None
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        kept = attention_mask.unsqueeze(-1).to(torch.float32)
        x = self.embed(input_ids)
        if self.recurrent is not None:
            x, _ = self.recurrent(x)
        mean = (x * kept).sum(1) / kept.sum(1).clamp(min=1)
        return self.head(F.relu(self.hidden(mean)))


class TiedLanguageModel(nn.Module):
    """Predicts each next token; the last layer's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 16)
        self.mix = nn.Conv1d(16, 16, 3)
        self.head = nn.Linear(16, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = F.pad(self.embed(ids).transpose(1, 2), (2, 0))
        return self.head(torch.tanh(self.mix(x)).transpose(1, 2)).transpose(1, 2)


def steps(n: int) -> tuple[Tensor, Tensor]:
    """Eight steps of six features, (n, 8, 6); a feature of its own is higher for each class."""
    labels = torch.arange(n) % 4
    return torch.randn(n, 8, 6) + 1.5 * F.one_hot(labels, 6).unsqueeze(1), labels


def conv1d() -> Case:
    """Conv1d and BatchNorm1d, the mean over time."""
    data = splits(lambda n: tinted(n, 3, 32))
    return Case(Task(Conv1dNet(), **data), "maximize accuracy", accuracy)


def lstm() -> Case:
    """LSTM, its last state."""
    model = Recurrent(nn.LSTM(6, 16, batch_first=True))
    return Case(Task(model, **splits(steps)), "maximize accuracy", accuracy)


def gru() -> Case:
    """GRU of two layers in both directions."""
    model = Recurrent(nn.GRU(6, 16, num_layers=2, bidirectional=True, batch_first=True))
    return Case(Task(model, **splits(steps)), "maximize accuracy", accuracy)


def transformer_encoder() -> Case:
    """`nn.TransformerEncoder`, the mean over tokens."""
    return Case(Task(TransformerEncoder(), **splits(steps)), "maximize accuracy", accuracy)


def token_mean() -> Case:
    """Linear layers and BatchNorm1d over tokens, `F.dropout`, `assert` on a shape."""
    return Case(Task(TokenMean(), **splits(steps)), "maximize accuracy", accuracy)


class Sentences(Dataset[Any]):
    """Sentences of various lengths; the words of a class come from its own part of the vocabulary."""

    def __init__(self, n: int, longest: int = 12) -> None:
        self.labels = [i % 4 for i in range(n)]
        lengths = torch.randint(4, longest + 1, (n,)).tolist()
        self.words = [
            torch.where(torch.rand(k) < 0.6, torch.randint(1, 6, (k,)) + 5 * c, torch.randint(1, WORDS, (k,)))
            for k, c in zip(lengths, self.labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.words[i], self.labels[i]


class PaddedSentences(Sentences):
    """The same as mappings of ids and mask, all of one length."""

    def __getitem__(self, i: int) -> Any:
        words, label = super().__getitem__(i)
        ids = F.pad(words, (0, 12 - len(words)), value=PAD)
        return {"input_ids": ids, "attention_mask": (ids != PAD).long()}, label


def padded(examples: Sequence[tuple[Tensor, int]]) -> Any:
    """A batch as long as its longest sentence."""
    words, labels = zip(*examples, strict=True)
    ids = pad_sequence(list(words), batch_first=True, padding_value=PAD)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}, torch.tensor(labels)


def text() -> Case:
    """Text: int64 ids and a mask in a mapping."""
    data = {name: PaddedSentences(n) for name, n in SIZES.items()}
    return Case(Task(TextClassifier(), **data), "maximize accuracy", accuracy)


def padded_lengths(recurrent: bool = False) -> Case:
    """The same with sentences of different lengths, padded by `collate=`."""
    data = {name: Sentences(n) for name, n in SIZES.items()}
    varying = {"input_ids": {1: "length"}, "attention_mask": {1: "length"}}
    task = Task(TextClassifier(recurrent), **data, collate=padded, varying=varying)
    return Case(task, "maximize accuracy", accuracy)


def recurrent_lengths() -> Case:
    """An LSTM over sentences of different lengths."""
    return padded_lengths(recurrent=True)


class Stream(IterableDataset[Any]):
    """Examples one after another, as from a file; their number is known."""

    def __init__(self, n: int) -> None:
        self.x, self.labels = tinted(n, 3, 32)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.x, self.labels, strict=True)


def stream() -> Case:
    """An IterableDataset with a length."""
    data = {name: Stream(n) for name, n in SIZES.items()}
    return Case(Task(Conv1dNet(), **data), "maximize accuracy", accuracy)


def loader() -> Case:
    """A DataLoader with a `collate_fn`."""
    data = {
        name: DataLoader(Sentences(n), batch_size=16, shuffle=name == "train", collate_fn=padded)
        for name, n in SIZES.items()
    }
    varying = {"input_ids": {1: "length"}, "attention_mask": {1: "length"}}
    return Case(Task(TextClassifier(), **data, varying=varying), "maximize accuracy", accuracy)


def chains(n: int) -> tuple[Tensor, Tensor]:
    """Token ids (n, 10) of which each is mostly the one before it plus three, and the next ids (n, 10)."""
    ids = torch.randint(0, WORDS, (n, 11))
    for i in range(1, 11):
        ids[:, i] = torch.where(torch.rand(n) < 0.9, (ids[:, i - 1] + 3) % WORDS, ids[:, i])
    return ids[:, :-1].clone(), ids[:, 1:].clone()


def tied_weights() -> Case:
    """A language model whose last weight is the embedding's."""
    return Case(Task(TiedLanguageModel(), **splits(chains)), "maximize accuracy", accuracy)


CASES = (
    conv1d, lstm, gru, transformer_encoder, token_mean, text, padded_lengths, recurrent_lengths, stream,
    loader, tied_weights,
)  # fmt: skip
