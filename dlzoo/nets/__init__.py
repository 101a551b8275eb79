"""Network architectures, one per file; each takes a spec and derives its shapes from it."""
