"""Export a trained model: ``python scripts/export.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

from dlzoo.commands.export import main

if __name__ == "__main__":
    main()
