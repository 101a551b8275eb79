"""Tables: embedded, published, generated, and CSV files of the user's own."""
