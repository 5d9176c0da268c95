"""MACHINES: bytes, time and state in, effects out. No I/O."""
