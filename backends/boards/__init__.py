"""Devices that are no nodes of Ray: boards over SSH, and whatever a command of the user's reaches (adb).

All that a board gets is a folder with a model, its inputs and one program (program.py) of raysearch's own
modules; it needs Python 3.10, numpy and the runtime, and no raysearch. ``describe``, ``measure`` and ``run``
are what a target asks of a board, ``Ssh`` and ``Command`` are the ways to one.
"""

from raysearch.backends.boards.command import Command
from raysearch.backends.boards.jobs import Board, BoardLost, describe, measure, run
from raysearch.backends.boards.ssh import Ssh

__all__ = ["Board", "BoardLost", "Command", "Ssh", "describe", "measure", "run"]
