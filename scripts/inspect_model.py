"""Inspect an image classifier: ``python scripts/inspect_model.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

from dlzoo.commands.inspect_model import main

if __name__ == "__main__":
    main()
