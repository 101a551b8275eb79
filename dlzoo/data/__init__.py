"""Data: where batches come from. One kind of source a file; each promises a spec."""
