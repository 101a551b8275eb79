"""How models are judged, beyond the metrics of torchmetrics."""
