"""What a device is like, found out by measuring: ``raysearch profile``."""
