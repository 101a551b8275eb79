"""Sequences: generated bits to count."""
