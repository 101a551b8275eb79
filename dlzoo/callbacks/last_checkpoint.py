"""The checkpoint to continue from."""

from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """``checkpoints/last.ckpt`` after each epoch.

    Not ``save_last`` of the other callback: Lightning 2.6.6 writes that only in epochs with a new best. A class of its
    own, because the states of two callbacks of one class that monitor the same would overwrite each other.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)
