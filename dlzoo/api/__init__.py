"""The Python API: the functions and classes that ``import dlzoo`` offers, and that the commands call."""
