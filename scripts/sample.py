"""Sample images or text: ``python scripts/sample.py ckpt=<run>/checkpoints/best.ckpt n=64``; see --help."""

from dlzoo.commands.sample import main

if __name__ == "__main__":
    main()
