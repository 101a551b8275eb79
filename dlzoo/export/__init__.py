"""Export of trained models to file formats, each verified against the checkpoint, and int8 quantization."""
