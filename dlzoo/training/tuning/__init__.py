"""Batch size and learning rate found before a run."""
