"""Tasks: how a net is trained. One training algorithm per file."""
