"""Measures variance shifts on real batches, and re-estimates running statistics."""
