"""WIRING: the ring, the driver and the processes built from them."""
