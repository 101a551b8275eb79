"""The command that reproduces the winner of a sweep: ``python scripts/best.py <sweep folder>``; see --help."""

from dlzoo.commands.best import main

if __name__ == "__main__":
    main()
