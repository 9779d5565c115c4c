"""Mixed-precision quantisation: fold batch norm, insert fake quantisers, calibrate, train, count bits."""

from raysearch.trainables.quantization.calibrate import calibrate
from raysearch.trainables.quantization.floats import in_float
from raysearch.trainables.quantization.fold import fold_batch_norm
from raysearch.trainables.quantization.insert import insert_quantizers
from raysearch.trainables.quantization.quantizer import BiasQuantizer, Quantizer
from raysearch.trainables.quantization.size import held_bits, nonzero_rate, size_mb
from raysearch.trainables.quantization.throughout import rounded_throughout

__all__ = [
    "BiasQuantizer",
    "Quantizer",
    "calibrate",
    "fold_batch_norm",
    "held_bits",
    "in_float",
    "insert_quantizers",
    "nonzero_rate",
    "rounded_throughout",
    "size_mb",
]
