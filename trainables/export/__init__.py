"""Files that runtimes take, and whether they compute what the module does."""

from raysearch.trainables.export.agreement import Agreement, ExportDisagreement, check_agreement
from raysearch.trainables.export.files import export_onnx, export_torch

__all__ = ["Agreement", "ExportDisagreement", "check_agreement", "export_onnx", "export_torch"]
