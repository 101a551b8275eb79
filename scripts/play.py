"""Play with an agent: ``python scripts/play.py ckpt=<run>/checkpoints/best.ckpt video=out.gif``; see --help."""

from dlzoo.commands.play import main

if __name__ == "__main__":
    main()
