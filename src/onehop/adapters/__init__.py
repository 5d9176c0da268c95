"""EDGES: the only code that can fail for reasons of its own."""
