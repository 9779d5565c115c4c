"""Torch's attention with fewer heads than its embedding has room for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FewerHeads(nn.MultiheadAttention):
    """Torch's attention after heads were removed: its own code wants heads as wide as the embedding."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # only a hint, beside attn_mask
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention``'s, where ``attn_mask`` is the same for all heads."""
        lone = query.dim() == 2
        q, k, v = (self._by_head(x) for x in self._projected(query, key, value))
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, q)
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q).view(len(q), 1, 1, -1)
            mask = padding if mask is None else mask + padding
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout) if dropout else weights
            heads = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        given = self.out_proj(heads.transpose(1, 2).flatten(2))
        if lone:
            return given[0], None if weights is None else weights[0]
        return given if self.batch_first else given.transpose(0, 1), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> Sequence[Tensor]:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key and key is value:
            return F.linear(query, weight, bias).chunk(3, -1)
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        inputs = (query, key, value)
        return [F.linear(x, w, b) for x, w, b in zip(inputs, weight.chunk(3), biases, strict=True)]

    def _by_head(self, x: Tensor) -> Tensor:
        """What a projection gives, in the order of the inputs, as (n, heads, tokens, size)."""
        if x.dim() == 2:
            x = x[None]
        elif not self.batch_first:
            x = x.transpose(0, 1)
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # type: ignore[no-any-return, no-untyped-call]


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask to be added: True, where it is of truth values, becomes minus infinity."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
