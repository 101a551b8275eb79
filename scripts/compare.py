"""Compare runs: ``python scripts/compare.py outputs/a outputs/b``; see --help."""

from dlzoo.commands.compare import main

if __name__ == "__main__":
    main()
