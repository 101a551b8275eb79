"""Print the command that reproduces a sweep's best trial: ``python scripts/best.py <sweep folder>``; see --help."""

from dlzoo.commands.best import main

if __name__ == "__main__":
    main()
