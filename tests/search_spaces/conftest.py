"""A small network of a user's own."""

from own_network import example, model

__all__ = ["example", "model"]
