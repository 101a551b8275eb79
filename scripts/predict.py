"""Predict on new inputs: ``python scripts/predict.py ckpt=<run>/checkpoints/best.ckpt input=photo.png``; see --help."""

from dlzoo.commands.predict import main

if __name__ == "__main__":
    main()
