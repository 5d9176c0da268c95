"""Fuzzers: run long by hand, and briefly by the tests beside each machine."""
