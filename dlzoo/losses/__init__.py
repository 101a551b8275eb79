"""Losses by name, and objectives: a loss with its metrics."""
