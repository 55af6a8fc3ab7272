"""Benchmarks, not tests: predicted against measured shifts on small trained networks; how long predicting takes."""
