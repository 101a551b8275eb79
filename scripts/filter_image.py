"""Convolve an image with fixed kernels: ``python scripts/filter_image.py input=photo.png kernel=sobel``; see --help."""

from dlzoo.commands.filter_image import main

if __name__ == "__main__":
    main()
