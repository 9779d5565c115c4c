"""Pure ask/tell methods, one a file, and the adapter that makes any of them Tune's."""
