"""What a model says of each input, as plain values for JSON and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.specs.base import Spec, Target
    from dlzoo.specs.sentences import Tags


Record = dict[str, Any]


def to_records(names: Sequence[Any], result: Any, target: Target, top_k: int, spec: Spec | None = None) -> list[Record]:
    """The results of a batch as they go into JSON. result: (B, K) or a dict of these, as from `predict`.

    Args:
        spec: of the inputs, where parts of them have results of their own, as the words of a sentence.
    """
    if target.tags is not None:
        assert spec is not None
        assert spec.texts is not None
        results = [tagged(spec.texts.words(name), row, target.tags) for name, row in zip(names, result, strict=True)]
    elif target.named is None:
        results = answers(result, target, top_k)
    else:
        heads = {head: answers(result[head], part, top_k) for head, part in target.named.by_name.items()}
        results = [{"targets": dict(zip(heads, row, strict=True))} for row in zip(*heads.values(), strict=True)]
    return [{"input": name, **answer} for name, answer in zip(names, results, strict=True)]


def answers(result: Tensor, target: Target, top_k: int) -> list[Record]:
    """The prediction of one target for each row."""
    if target.classes is not None and not target.classes.has_probabilities:
        return [{"predictions": [{"class": target.names[k]}]} for k in result.argmax(1).tolist()]
    if target.classes is not None:
        best = result.topk(min(top_k, target.num_outputs), dim=1)
        return [
            {
                "predictions": [
                    {"class": target.names[k], "probability": p} for k, p in zip(ks, probabilities, strict=True)
                ],
            }
            for ks, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
    if (sequences := target.token_sequences) is not None:
        return [{"output": sequences.decode(row)} for row in result.tolist()]
    if target.labels is not None:
        return [{"labels": dict(zip(target.names, row, strict=True))} for row in result.tolist()]
    units = {"units": dict(zip(target.names, target.units, strict=False))} if any(target.units) else {}
    return [{"values": dict(zip(target.names, row, strict=True)), **units} for row in result.tolist()]


def tagged(words: Sequence[str], result: Tensor, target: Tags) -> Record:
    """The tag of each word. result: (L, K)"""
    found = []
    for word, scores in zip(words, result, strict=False):  # the result is as long as the longest of the batch
        k = int(scores.argmax())
        probability = {"probability": float(scores[k])} if target.has_probabilities else {}
        found.append({"word": word, "tag": target.names[k], **probability})
    return {"words": found}


def parts_of(record: Record) -> dict[str, Record]:
    """The results of each target by its name, or of the one target by an empty name."""
    return record.get("targets", {"": record})


def titled(target: str, column: str) -> str:
    """The heading of a target's column; one that is called as its target bears the name once.

    >>> titled("tags", "old"), titled("price", "price"), titled("", "price")
    ('tags old', 'price', 'price')
    """
    return column if target in ("", column) else f"{target} {column}"


def headings_of(target: str, part: Record) -> list[str]:
    if "words" in part:
        return ["words", "tags"]
    if "output" in part:
        return [titled(target, "output")]
    if key := next((key for key in ("values", "labels") if key in part), None):
        return [titled(target, name) for name in part[key]]
    if "probability" not in part["predictions"][0]:
        return [titled(target, "class")]
    return [titled(target, f"{what}_{i + 1}") for i, each in enumerate(part["predictions"]) for what in each]


def cells_of(part: Record) -> list[Any]:
    if "words" in part:
        return [" ".join(each[what] for each in part["words"]) for what in ("word", "tag")]
    if "output" in part:
        return [part["output"]]
    if key := next((key for key in ("values", "labels") if key in part), None):
        return list(part[key].values())
    return [cell for prediction in part["predictions"] for cell in prediction.values()]
