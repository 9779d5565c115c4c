"""A run looked at while it goes on, from any process that can read its folder."""
