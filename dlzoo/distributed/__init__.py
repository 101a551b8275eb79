"""Several processes: how they are started, what they exchange, and what must be alike on all."""
