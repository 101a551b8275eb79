"""Where batches come from: a module for each kind of data, loaders and splits."""
