"""Train a model: ``python train.py model=lenet data=mnist``; ``python train.py --help`` lists all choices."""

from dlzoo.training.launch import main

if __name__ == "__main__":
    main()
