"""Small networks of the kinds that people have, each with batches of inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations
from torch.utils import _pytree as pytree

from raysearch.networks.capture import capture
from raysearch.networks.nests import Nest
from raysearch.networks.operators import layer_name, layer_of
from raysearch.search_spaces.bit_widths import BitWidthPlan


@dataclass(frozen=True)
class Kind:
    """A kind of network.

    Attributes:
        model: makes one.
        inputs: makes a batch of so many inputs.
    """

    model: Callable[[], nn.Module]
    inputs: Callable[[int], Nest]


class Net(nn.Module):
    """Parts that ``run(net, x)`` joins."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def random(*shape: int) -> Callable[[int], Tensor]:
    """Batches of normal values."""
    return lambda n: torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))


IMAGES = random(3, 12, 12)


def conv(
    channels: int, width: int, kernel: int = 3, act: Callable[[], nn.Module] | None = nn.ReLU, **how: Any
) -> nn.Sequential:
    """A convolution that keeps the size, its batch norm, and an activation."""
    parts = [
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False, **how),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*parts, *([act()] if act else []))


def head(width: int, classes: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def conv1d_mean() -> nn.Module:
    body = nn.Sequential(nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, padding="same"))
    return Net(lambda m, x: m.head(m.body(x).mean(-1)), body=body, head=nn.Linear(8, 3))


def token_mean() -> nn.Module:
    return Net(
        lambda m, x: m.head(m.second(F.gelu(m.first(x))).mean(1)),
        first=nn.Linear(6, 16),
        second=nn.Linear(16, 8),
        head=nn.Linear(8, 3),
    )


class ClassToken(nn.Module):
    """A vision transformer of one block, with torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 10, 8) * 0.1)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm3(x)[:, 0])  # type: ignore[no-any-return]


class MaskedEncoder(nn.Module):
    """A transformer encoder over tokens, some of which are padding."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])  # type: ignore[no-any-return]


def tokens_and_padding(n: int) -> tuple[Tensor, Tensor]:
    lengths = 2 + torch.arange(n) % 4
    return random(5, 8)(n), torch.arange(5)[None] >= lengths[:, None]


class Attention(nn.Module):
    """Attention written out: two products of computed matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def lstm() -> nn.Module:
    return Net(
        lambda m, x: m.head(m.lstm(x)[0][:, -1]), lstm=nn.LSTM(4, 8, batch_first=True), head=nn.Linear(8, 3)
    )


def gru() -> nn.Module:
    return Net(
        lambda m, x: m.head(torch.relu(m.gru(x)[0][:, -1])),
        gru=nn.GRU(4, 6, num_layers=2, batch_first=True, bidirectional=True),
        head=nn.Linear(12, 3),
    )


def group_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3), head(8))


def gated() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        a, b = m.conv(x).chunk(2, 1)
        return m.head(a * torch.sigmoid(b))  # type: ignore[no-any-return]

    return Net(run, conv=nn.Conv2d(3, 16, 3), head=head(8))


def unflatten() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(27, 32), nn.Unflatten(1, (8, 2, 2)), nn.ReLU(), nn.Conv2d(8, 4, 1), head(4)
    )


def normalized() -> nn.Module:
    return Net(lambda m, x: F.normalize(m.body(x), dim=1), body=nn.Sequential(conv(3, 8), head(8)))


def shuffle(x: Tensor, groups: int = 2) -> Tensor:
    n, channels, height, width = x.shape
    x = x.view(n, groups, channels // groups, height, width).transpose(1, 2).contiguous()
    return x.view(n, channels, height, width)


def channel_shuffle() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        a, b = m.stem(x).chunk(2, 1)
        return m.head(m.last(shuffle(torch.cat([a, m.branch(b)], 1))))  # type: ignore[no-any-return]

    branch = nn.Sequential(conv(8, 8, 1), conv(8, 8, act=None, groups=8), conv(8, 8, 1))
    return Net(run, stem=conv(3, 16), branch=branch, last=conv(16, 8, 1), head=head(8))


def resnet() -> nn.Module:
    def block(m: Any, x: Tensor) -> Tensor:
        return F.relu(m.body(x) + (m.skip(x) if hasattr(m, "skip") else x))

    same = Net(block, body=nn.Sequential(conv(8, 8), conv(8, 8, act=None)))
    half = nn.Sequential(conv(8, 16, stride=2), conv(16, 16, act=None))
    wider = Net(block, body=half, skip=conv(8, 16, 1, act=None, stride=2))
    return nn.Sequential(conv(3, 8), nn.MaxPool2d(3, 2, 1), same, wider, head(16))


def inverted_residuals() -> nn.Module:
    def block(width: int) -> nn.Module:
        parts = [conv(width, 16, 1, nn.ReLU6), conv(16, 16, 3, nn.ReLU6, groups=16), conv(16, width, 1, None)]
        return Net(lambda m, x: x + m.body(x), body=nn.Sequential(*parts))

    return nn.Sequential(conv(3, 8, act=nn.ReLU6), block(8), block(8), conv(8, 16, 1, nn.ReLU6), head(16))


def hard_swish() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, act=nn.Hardswish), conv(8, 8, act=nn.Hardswish, groups=8), conv(8, 8, 1), head(8)
    )


def squeeze_excitation() -> nn.Module:
    scale = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Hardsigmoid()]
    return Net(
        lambda m, x: m.head(m.last((y := m.stem(x)) * m.scale(y))),
        stem=conv(3, 8),
        scale=nn.Sequential(*scale),
        last=conv(8, 8),
        head=head(8),
    )


def densenet() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        found = [m.stem(x)]
        for layer in (m.a, m.b):
            found.append(layer(torch.cat(found, 1)))
        return m.head(m.pool(m.norm(torch.cat(found, 1))))  # type: ignore[no-any-return]

    return Net(
        run,
        stem=conv(3, 8),
        a=nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)),
        b=nn.Sequential(nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 3, padding=1)),
        norm=nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1)),
        pool=nn.AvgPool2d(2),
        head=head(8),
    )


class ConvNeXt(nn.Module):
    """A block of ConvNeXt: depthwise, then linear layers over channels that lie last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 2, stride=2), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.scale = nn.LayerNorm(8), nn.Parameter(torch.full((8, 1, 1), 0.1))
        self.first, self.second, self.head = nn.Linear(8, 32), nn.Linear(32, 8), head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.second(F.gelu(self.first(y))).permute(0, 3, 1, 2)
        return self.head(x + self.scale * y)  # type: ignore[no-any-return]


def segmentation() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.MaxPool2d(2), conv(8, 8), nn.ConvTranspose2d(8, 8, 2, stride=2), nn.BatchNorm2d(8),
        nn.ReLU(), nn.ConvTranspose2d(8, 4, 3, padding=1, groups=2),
    )  # fmt: skip


def u_net() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        fine = m.fine(x)
        up = F.interpolate(m.coarse(F.max_pool2d(fine, 2)), scale_factor=2.0, mode="nearest")
        soft = F.interpolate(m.last(torch.cat([fine, up], 1)), size=(24, 24), mode="bilinear")
        return soft

    return Net(run, fine=conv(3, 8), coarse=conv(8, 8), last=nn.Conv2d(16, 2, 1))


def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 4, 2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def max_pools() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.MaxPool2d(2), conv(8, 8), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    )


class Text(nn.Module):
    """A classifier of sentences: the mean of the embeddings of their words."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.head = (
            nn.Embedding(11, 8, padding_idx=0),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weight = mask.unsqueeze(-1).to(torch.float32)
        mean = (self.table(ids) * weight).sum(1) / weight.sum(1).clamp(min=1)
        return self.head(torch.relu(self.hidden(mean)))  # type: ignore[no-any-return]


def sentences(n: int) -> dict[str, Tensor]:
    ids = torch.randint(1, 11, (n, 6), generator=torch.Generator().manual_seed(n))
    return {"ids": ids, "mask": (torch.arange(6)[None] <= torch.arange(n)[:, None] % 6).long()}


class TiedText(nn.Module):
    """Predicts each next word by the table that it looks words up in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.out = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11)
        self.out.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(self.table(ids))))  # type: ignore[no-any-return]


@dataclass
class Output:
    """An output class, as those of Hugging Face's transformers are."""

    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


pytree.register_dataclass(Output)


def dict_output() -> nn.Module:
    def run(m: Any, x: Tensor) -> dict[str, Any]:
        y = m.body(x)
        return {"boxes": m.boxes(y), "classes": m.classes(y), "loss": None}

    return Net(
        run, body=nn.Sequential(conv(3, 8), head(8, 8)), boxes=nn.Linear(8, 4), classes=nn.Linear(8, 3)
    )


def output_class() -> nn.Module:
    def run(m: Any, x: Tensor) -> Output:
        y = m.body(x)
        return Output(m.head(y), (y, y.relu()))

    return Net(run, body=nn.Sequential(conv(3, 8), head(8, 8)), head=nn.Linear(8, 3))


class TwoInputs(nn.Module):
    """Pictures and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.numbers = nn.Sequential(conv(3, 8), head(8, 8)), nn.Linear(5, 8)
        self.both, self.head = nn.Bilinear(8, 8, 6), nn.Linear(6, 2)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        return self.head(torch.relu(self.both(self.picture(image), torch.relu(self.numbers(numbers)))))  # type: ignore[no-any-return]


def one_number() -> nn.Module:
    return Net(
        lambda m, x: m.last(torch.relu(m.first(x))).squeeze(-1), first=nn.Linear(6, 8), last=nn.Linear(8, 1)
    )


def einsum() -> nn.Module:
    return Net(
        lambda m, x: torch.einsum("nij,njk->nik", m.a(x), m.b(x).transpose(1, 2)),
        a=nn.Linear(6, 4),
        b=nn.Linear(6, 4),
    )


def checks() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError("not three channels")
        assert x.dim() == 4
        y = m.conv(x).view(len(x), -1)
        with torch.no_grad():
            size = y.square().mean(1, keepdim=True)
        return m.head(y / (1 + size))  # type: ignore[no-any-return]

    return Net(run, conv=nn.Conv2d(3, 2, 3), head=nn.Linear(200, 3))


def in_place() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        x.relu_()
        y = F.relu(m.b(x), inplace=True)
        y += x
        y.clamp_(0, 4)
        return m.head(m.relu(m.c(y)))  # type: ignore[no-any-return]

    parts = {name: nn.Conv2d(3 if name == "a" else 8, 8, 3, padding=1) for name in "abc"}
    return Net(run, **parts, relu=nn.ReLU(inplace=True), head=head(8))


def written_slices() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        x[:, 0] = 0
        x = m.b(x).masked_fill_(x[:, :1] > 0.5, 0.25)
        return m.head(x)  # type: ignore[no-any-return]

    return Net(run, a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(8, 8, 3, padding=1), head=head(8))


def twice() -> nn.Module:
    shared = nn.Conv2d(8, 8, 3, padding=1)
    return Net(
        lambda m, x: m.head(m.same(torch.relu(m.shared(torch.relu(m.shared(m.stem(x))))))),
        stem=conv(3, 8),
        shared=shared,
        same=shared,
        head=head(8),
    )


def norms_of_weights() -> nn.Module:
    old = torch.nn.utils.weight_norm(nn.Conv2d(3, 8, 3, padding=1))
    spectral = torch.nn.utils.spectral_norm(nn.Conv2d(8, 8, 3, padding=1))
    new = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))
    last = parametrizations.spectral_norm(nn.Linear(8, 4))
    return nn.Sequential(
        old, nn.ReLU(), spectral, nn.ReLU(), new, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last
    )


def dropout() -> nn.Module:
    return Net(
        lambda m, x: m.head(F.dropout(torch.relu(m.first(x)), 0.5, m.training)),
        first=nn.Linear(6, 16),
        head=nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 3)),
    )


def raw_images() -> nn.Module:
    return Net(lambda m, x: m.body(x.float() / 255), body=nn.Sequential(conv(3, 8), head(8)))


def raw(n: int) -> Tensor:
    return torch.randint(
        0, 256, (n, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)
    )


def half_inputs() -> nn.Module:
    return Net(
        lambda m, x: m.body(x.float()), body=nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    )


def other_norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.PReLU(), nn.Conv2d(8, 4, 1), head(4)
    )


NETWORKS: dict[str, Kind] = {
    "conv1d_mean": Kind(conv1d_mean, random(2, 16)),
    "token_mean": Kind(token_mean, random(5, 6)),
    "vision_transformer": Kind(ClassToken, IMAGES),
    "masked_encoder": Kind(MaskedEncoder, tokens_and_padding),
    "attention": Kind(Attention, random(5, 8)),
    "lstm": Kind(lstm, random(7, 4)),
    "gru": Kind(gru, random(7, 4)),
    "group_norm": Kind(group_norm, IMAGES),
    "gated": Kind(gated, IMAGES),
    "unflatten": Kind(unflatten, random(3, 3, 3)),
    "normalized": Kind(normalized, IMAGES),
    "channel_shuffle": Kind(channel_shuffle, IMAGES),
    "resnet": Kind(resnet, IMAGES),
    "inverted_residuals": Kind(inverted_residuals, IMAGES),
    "hard_swish": Kind(hard_swish, IMAGES),
    "squeeze_excitation": Kind(squeeze_excitation, IMAGES),
    "densenet": Kind(densenet, IMAGES),
    "convnext": Kind(ConvNeXt, IMAGES),
    "segmentation": Kind(segmentation, IMAGES),
    "u_net": Kind(u_net, IMAGES),
    "conv3d": Kind(conv3d, random(1, 6, 7, 8)),
    "max_pools": Kind(max_pools, IMAGES),
    "text": Kind(Text, sentences),
    "tied_text": Kind(TiedText, lambda n: sentences(n)["ids"]),
    "dict_output": Kind(dict_output, IMAGES),
    "output_class": Kind(output_class, IMAGES),
    "two_inputs": Kind(TwoInputs, lambda n: (IMAGES(n), random(5)(n))),
    "one_number": Kind(one_number, random(6)),
    "linear": Kind(partial(nn.Linear, 6, 3), random(6)),
    "einsum": Kind(einsum, random(5, 6)),
    "checks": Kind(checks, IMAGES),
    "in_place": Kind(in_place, IMAGES),
    "written_slices": Kind(written_slices, IMAGES),
    "twice": Kind(twice, IMAGES),
    "norms_of_weights": Kind(norms_of_weights, IMAGES),
    "dropout": Kind(dropout, random(6)),
    "raw_images": Kind(raw_images, raw),
    "half_inputs": Kind(half_inputs, lambda n: random(6)(n).half()),
    "other_norms": Kind(other_norms, IMAGES),
}


@cache
def network(name: str) -> nn.Module:
    """A network of the kind, in evaluation mode, its batch norms with statistics; not to be changed."""
    torch.manual_seed(0)
    kind = NETWORKS[name]
    model = kind.model()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model.eval()


@cache
def captured(name: str) -> fx.GraphModule:
    """The network, captured; not to be changed."""
    return capture(network(name), NETWORKS[name].inputs(2))


def layers(graph_module: fx.GraphModule) -> list[str]:
    """The names of its layers, in the order in which they run."""
    found = [layer_name(n, layer) for n in graph_module.graph.nodes if (layer := layer_of(n))]
    return list(dict.fromkeys(found))


def uniform(graph_module: fx.GraphModule, weights: int, activations: int) -> BitWidthPlan:
    """A plan with the same bits in every layer."""
    names = layers(graph_module)
    return BitWidthPlan(dict.fromkeys(names, weights), dict.fromkeys(names, activations))
