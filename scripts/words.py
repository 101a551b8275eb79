"""Ask word vectors: ``python scripts/words.py ckpt=<run> most_similar=king``; see --help."""

from dlzoo.commands.words import main

if __name__ == "__main__":
    main()
