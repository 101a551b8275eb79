"""Files, downloads, archives, memory, text: what knows nothing of models."""
