"""Pure stopping rules, one a file, and the adapter that makes any of them Tune's."""
