"""Test a checkpoint again: ``python scripts/evaluate.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

from dlzoo.commands.evaluate import main

if __name__ == "__main__":
    main()
