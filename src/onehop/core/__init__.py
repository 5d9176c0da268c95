"""DECISIONS: pure functions of a Snapshot. No clock, no I/O, no randomness."""
