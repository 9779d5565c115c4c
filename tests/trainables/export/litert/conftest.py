"""Files that are converted once."""

from litert_files import written

__all__ = ["written"]
