"""nan_guard."""
