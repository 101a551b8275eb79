"""List the options of a run: ``python scripts/options.py model=vae data=mnist``; see --help."""

from dlzoo.commands.options import main

if __name__ == "__main__":
    main()
