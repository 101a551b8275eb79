"""dlzoo: classic deep-learning systems that run, composed from YAML by Hydra and trained by Lightning."""

__version__ = "0.1.0"
