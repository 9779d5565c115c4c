"""Fewer bits for a network that has been trained with more.

References:
    Zhuang, B., Shen, C., Tan, M., Liu, L., & Reid, I. (2018). Towards effective low-bitwidth convolutional
        neural networks. (progressive quantisation)
"""

from __future__ import annotations

import torch
from torch import fx

from raysearch.networks.nests import Nest
from raysearch.trainables.quantization.calibrate import calibrate
from raysearch.trainables.quantization.quantizer import Quantizer


def lowered(trained: fx.GraphModule, fresh: fx.GraphModule, inputs: Nest) -> fx.GraphModule:
    """The fresh network with the trained weights, the steps of its quantisers chosen for them.

    Args:
        trained: with quantisers.
        fresh: the same network with quantisers of other bits; changed in place.
        inputs: a batch, by which activations' steps are chosen.
    """
    known = trained.state_dict()
    quantizers = {name: m for name, m in fresh.named_modules() if isinstance(m, Quantizer)}
    with torch.no_grad():
        for name, tensor in fresh.state_dict().items():
            if name.rpartition(".")[0] not in quantizers:
                tensor.copy_(known[name])
        for name, quantizer in quantizers.items():
            if quantizer.integer and quantizer.channels is not None:
                weight = fresh.get_parameter(name.removesuffix("_quantizer"))
                quantizer.scale.copy_(quantizer.fit(weight))
    calibrate(fresh, [inputs])
    return fresh
