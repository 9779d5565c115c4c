"""Anybody's network: its graph, its figures, what of it may be pruned, what names its failures by layer."""
