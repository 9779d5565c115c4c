"""A run at work on Ray: its phases, the conductor between algorithms and journal, and Tune."""
