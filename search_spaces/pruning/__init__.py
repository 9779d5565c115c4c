"""What may be taken out of a network: channels, single weights, and both at once without training."""
