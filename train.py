"""Train a model: ``python train.py model=lenet data=mnist``; ``python train.py --help`` lists all choices."""

from dlzoo.commands.train import main

if __name__ == "__main__":
    main()
