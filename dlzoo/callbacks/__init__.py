"""Callbacks: they observe a run and write what a person wants to see; none defines a loss."""
