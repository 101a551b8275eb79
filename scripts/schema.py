"""Write JSON Schemas of config files: ``python scripts/schema.py out=schema``; see --help."""

from dlzoo.commands.schema import main

if __name__ == "__main__":
    main()
