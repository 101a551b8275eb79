"""Nets: what is computed. One architecture a file; each takes a spec and derives its shapes from it."""
