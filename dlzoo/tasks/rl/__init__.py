"""Agents: how they act and learn."""
