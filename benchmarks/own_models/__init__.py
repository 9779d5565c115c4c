"""Small models and tasks as users write them, each searched to a front whose figures are checked."""
