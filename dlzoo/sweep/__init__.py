"""Sweeps, ``python train.py -m …``: a grid of every combination, or a search over a space.

`command` leads: it asks `grid` or `search` (Optuna) for the next trial, has it run by `runner` in another process, and
ends with the table and the pictures of `report`. A trial is one run of ``train.py``, with words of its own.
"""
