"""The form "litert": .tflite files with the steps that a network has learnt, without TensorFlow."""

from raysearch.trainables.export.litert.exporter import export_litert

__all__ = ["export_litert"]
