"""Sequences: random bits to count."""
