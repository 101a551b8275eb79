"""Tasks: how a net learns. One way to learn a file."""
