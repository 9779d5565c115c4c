"""Networks that inputs may leave early: when they do, how that is trained, deployed and measured."""
