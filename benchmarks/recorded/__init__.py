"""The project's own trials, recorded: whole learning curves of compression trials of two networks."""
