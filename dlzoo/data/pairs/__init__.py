"""Pairs of token sequences: an input, and the output that belongs to it."""
