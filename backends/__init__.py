"""Where a model runs: one file per runtime, all with the same few methods."""
