"""Checkpoints: the format, how they are written and read, and how a task is rebuilt from one."""
