"""Images: embedded, published, and folders of the user's own; how they are decoded and augmented."""
