"""Where examples come from: one file a source, all split once by seed."""
