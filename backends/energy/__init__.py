"""Energy of inference: how it is measured (power.py), and the meters that are read (meters.py)."""
