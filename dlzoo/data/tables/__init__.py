"""Tables: embedded, published, generated, and the user's own CSV files."""
