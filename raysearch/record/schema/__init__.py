"""What a line of a journal may be: checked as it is read."""

from raysearch.record.schema.fields import Event
from raysearch.record.schema.reader import MEND, OF_A_TRIAL, DamagedLine, Reader, check_begun

__all__ = ["MEND", "OF_A_TRIAL", "DamagedLine", "Event", "Reader", "check_begun"]
