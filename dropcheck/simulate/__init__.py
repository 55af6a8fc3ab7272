"""Predicts variance shifts from trained weights: the model is run on synthetic input, no data needed."""
