"""Google's TPUs: target.py is what others use; compiler.py works in a process of its own, with JAX."""
