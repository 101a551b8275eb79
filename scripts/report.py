"""Write one HTML page about a run: ``python scripts/report.py outputs/<run>``; see --help."""

from dlzoo.commands.report import main

if __name__ == "__main__":
    main()
