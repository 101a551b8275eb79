"""Distributed training: launching processes, collectives, and random numbers that do not depend on the rank."""
