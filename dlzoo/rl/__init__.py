"""Reinforcement learning: environments and replay."""
