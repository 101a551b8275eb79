"""Images: embedded, published or in the user's folders; their decoding and augmentation."""
