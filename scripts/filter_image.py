"""Fixed filters on a picture: ``python scripts/filter_image.py input=photo.png kernel=sobel``; --help says more."""

from dlzoo.commands.filter_image import main

if __name__ == "__main__":
    main()
