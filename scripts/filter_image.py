"""Fixed filters on a picture: ``python scripts/filter_image.py input=photo.png kernel=sobel``; --help says more."""

import os
import sys

# A checkout need not be installed; and this folder must go at once, for its inspect.py is not Python's.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from dlzoo.commands.filter_image import main

if __name__ == "__main__":
    main()
