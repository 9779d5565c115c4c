"""Traces of requests, and the queue and the rules over them without a clock."""
