"""Benchmarks: ratios to peers, side by side in one run, after the results were compared. `make bench` runs them."""
