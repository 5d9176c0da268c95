"""Benches: each measures one promise and says whether it is kept. `python -m bench --help`."""
