"""What decides in a run: a searcher and a scheduler, each step of which goes through the journal."""
