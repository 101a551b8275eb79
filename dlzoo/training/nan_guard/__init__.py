"""Losses and gradients that are not finite: noticed, explained, skipped."""
