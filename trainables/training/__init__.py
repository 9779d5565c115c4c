"""Training a network: one epoch, how the epochs are divided, what a teacher adds to the loss."""
