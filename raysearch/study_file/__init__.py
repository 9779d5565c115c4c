"""Studies and allocations as YAML files: their keys, their spaces as text, and what they build."""
