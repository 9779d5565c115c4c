"""What may vary: one file a subject, each with a function of Tune domains and the plan a config decodes to."""
