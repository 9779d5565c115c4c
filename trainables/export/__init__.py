"""Files that runtimes take, and whether they compute what the module does."""

from raysearch.trainables.export.files import export_onnx, export_torch
from raysearch.trainables.export.litert import export_litert

__all__ = ["export_litert", "export_onnx", "export_torch"]
