"""Texts with classes, and running text for language models."""
