"""Metrics beyond those of torchmetrics."""
