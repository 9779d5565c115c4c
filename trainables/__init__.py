"""What one trial does: build, prune, measure, train, quantise, export, check."""
