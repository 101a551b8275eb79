"""Labelled texts, and running text for language models."""
