"""Repeat a training step that had non-finite values: ``python scripts/rerun_step.py ckpt=<run>/nonfinite.ckpt``."""

from dlzoo.commands.rerun_step import main

if __name__ == "__main__":
    main()
