"""Networks with attention as people write it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, SIZE = 12, 3, 4


class Fused(nn.Module):
    """One layer for query, key and value, as in timm; the heads need not be as wide as the embedding."""

    def __init__(self, heads: int = HEADS, size: int = SIZE, by_input: bool = False) -> None:
        super().__init__()
        self.num_heads, self.attn_dim, self.by_input = heads, heads * size, by_input
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * heads * size), nn.Linear(heads * size, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        heads = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(heads.reshape(n, tokens, width if self.by_input else self.attn_dim))  # type: ignore[no-any-return]


class Interleaved(Fused):
    """The same weights in another order: query, key and value of each head beside one another."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (self.num_heads, 3, -1)).permute(3, 0, 2, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Separate(nn.Module):
    """A layer each for query, key and value, as in BERT; what reads the heads stands outside."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = HEADS, SIZE
        self.all_head_size = HEADS * SIZE
        self.query, self.key, self.value = (nn.Linear(WIDTH, HEADS * SIZE) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], self.num_attention_heads, self.attention_head_size)
        q, k, v = (f(x).view(shape).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = (q @ k.transpose(-1, -2) / self.attention_head_size**0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(*x.shape[:2], self.all_head_size)


class Outside(nn.Module):
    """The attention of ``Separate`` with what follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.dense = Separate(), nn.Linear(HEADS * SIZE, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.attention(x))  # type: ignore[no-any-return]


class Torchs(nn.Module):
    """Torch's attention, with the options that its own layers use."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **options)
        self.batch_first = self.attention.batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        mask = torch.ones(2 * [x.shape[1 if self.batch_first else 0]]).triu(1).bool()
        y = self.attention(x, x, x, attn_mask=mask)[0]
        return y if self.batch_first else y.transpose(0, 1)  # type: ignore[no-any-return]


class Cross(nn.Module):
    """Queries of one kind, keys and values of another, and the weights as a second output."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), weights
        self.queries = nn.Parameter(torch.randn(1, 2, WIDTH))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y, weights = self.attention(self.queries.expand(len(x), -1, -1), x, torch.relu(x))
        return (y, weights) if self.weights else y


class Classifier(nn.Module):
    """A block of attention and an MLP with norms; as in some ViTs, the branch starts next to nothing."""

    def __init__(self, attention: nn.Module, classes: int = 4) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(5, WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.head = attention, nn.Linear(WIDTH, classes)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))
        self.scale = nn.Parameter(torch.full((WIDTH,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.scale * self.attention(self.norm1(x))
        return self.head((x + self.mlp(self.norm2(x))).mean(1))  # type: ignore[no-any-return]


def tokens(n: int) -> Tensor:
    return torch.randn(n, 6, 5, generator=torch.Generator().manual_seed(n))
