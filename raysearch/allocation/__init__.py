"""Dividing a pruning budget over the branches of a network: response curves, proven allocations, one ratio."""
