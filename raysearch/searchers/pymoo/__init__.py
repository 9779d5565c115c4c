"""Pymoo's algorithms as searchers."""
