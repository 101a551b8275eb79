"""List, tag, rename and delete runs: ``python scripts/runs.py outputs``; see --help."""

from dlzoo.commands.runs import main

if __name__ == "__main__":
    main()
