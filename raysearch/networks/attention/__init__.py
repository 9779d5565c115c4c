"""Attention whose heads can be removed."""
