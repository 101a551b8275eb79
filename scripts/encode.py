"""Write the latents of images: ``python scripts/encode.py ckpt=<run>/checkpoints/best.ckpt``; see --help."""

from dlzoo.commands.encode import main

if __name__ == "__main__":
    main()
