"""Search on regressors in place of the real evaluation."""
