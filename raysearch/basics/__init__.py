"""What everyone uses and knows nobody: spelling, failures in one line, optional packages."""
