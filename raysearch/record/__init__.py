"""What happened in a run: its journal, and all that is read from it."""
