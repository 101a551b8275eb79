"""Reinforcement-learning agents: how they act and learn."""
