"""Qualcomm's NPU: target.py is what others use; graph.py is what it needs changed in a file."""
