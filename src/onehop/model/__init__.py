"""WORDS: what the system talks about. Frozen values and enums; the standard library only."""
