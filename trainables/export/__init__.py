"""Files that runtimes take, and whether they compute what the module does."""

from raysearch.trainables.export.files import export_onnx, export_torch

__all__ = ["export_onnx", "export_torch"]
