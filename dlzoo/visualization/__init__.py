"""What a run draws: figures, tiles of pictures and films, and what they are drawn from."""
