"""The cluster that a run is on: what a trial takes of it, what there is, and how much is the run's."""
