"""A network taken apart and run: its dependency groups, its failures by layer and operator."""
