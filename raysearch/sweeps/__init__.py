"""How accuracy, size and latency answer to pruning the parts of a network: what a budget is divided by."""
