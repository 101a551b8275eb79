"""How models are judged: forecasts, made pictures, recognised classes, texts."""
