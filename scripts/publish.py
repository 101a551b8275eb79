"""Publish a model: ``python scripts/publish.py ckpt=<run> to=<folder>``; see --help."""

from dlzoo.commands.publish import main

if __name__ == "__main__":
    main()
