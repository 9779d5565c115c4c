"""The cheapest rival: ONNX Runtime's own static int8 quantisation, after training, from a float ONNX file."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raysearch.backends.base import Feed, MeasurementError
from raysearch.basics.failures import first_line


def static_int8(float_onnx: Path, calibration: Iterable[Feed], out: Path, *, weight_bits: int = 8) -> None:
    """Write the static int8 form of a float model: uint8 activations, int8 weights per channel, Q/DQ.

    Args:
        float_onnx: an ONNX file.
        calibration: batches of its inputs by name; the ranges of the activations are the smallest and the
            largest seen.
        out: the file to write.
        weight_bits: 8, or 7 where it will run with ``Backend.weight_bits`` of 7.

    Raises:
        ValueError: there is no calibration batch.
        MeasurementError: ONNX Runtime cannot quantise the model.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = list(calibration)
    if not batches:
        raise ValueError(
            "calibration holds no batch: static quantisation needs at least one to learn ranges from"
        )
    with tempfile.TemporaryDirectory(prefix="raysearch-int8-") as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(float_onnx, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                out,
                _Batches(batches),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=weight_bits < 8,
            )
        except Exception as error:  # its exceptions share no public base class
            raise MeasurementError(
                f"ONNX Runtime cannot quantise {float_onnx.name}: {first_line(error)}"
            ) from error


class _Batches:
    """ONNX Runtime's calibration reader over a list of batches."""

    def __init__(self, batches: list[Feed]) -> None:
        self._feeds = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next feed, None after the last."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to pre-process, which it gives after its own pre-processing too."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
