"""What a trained task answers: predictions, samples, activations, episodes."""
