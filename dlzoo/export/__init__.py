"""A model leaves the house: its file formats, each checked against the checkpoint, and int8."""
