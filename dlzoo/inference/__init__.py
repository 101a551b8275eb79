"""Inference with trained tasks: predictions, samples, activations, episodes."""
