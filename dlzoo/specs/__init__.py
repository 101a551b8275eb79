"""Specs: what data promise about their batches, and nets are built from."""

from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.base import Port, Spec, Target
from dlzoo.specs.boxes import Boxes
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import Column, ImageSpec, SequenceSpec, SeriesSpec, TableSpec, TextSpec
from dlzoo.specs.named import NamedSpec, Targets
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.specs.sentences import SentenceSpec, Tags
from dlzoo.specs.targets import Actions, Classes, Labels, NextTokens, Unlabelled, Values
from dlzoo.specs.token_sequences import TokenSequences

__all__ = [
    "Actions", "AudioSpec", "Boxes", "Classes", "Column", "EnvSpec", "ImageSpec", "ItemRatings", "Labels", "NamedSpec",
    "NextTokens", "Port", "RatingsSpec", "SentenceSpec", "SequenceSpec", "SeriesSpec", "Spec", "StatesSpec",
    "TableSpec", "Tags", "Target", "Targets", "TextSpec", "TokenSequences", "Unlabelled", "Values",
]  # fmt: skip
