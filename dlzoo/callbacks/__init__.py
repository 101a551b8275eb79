"""Callbacks: they observe a run and write its outputs; none of them defines a loss."""
