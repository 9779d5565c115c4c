"""Runtimes, one a file: each is a class of targets; see ``backends.base``."""
