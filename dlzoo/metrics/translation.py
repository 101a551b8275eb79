"""How close translations are to references: BLEU and chrF, by the library `sacrebleu`.

K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002; M. Popović, "chrF: character
n-gram F-score for automatic MT evaluation", 2015; M. Post, "A Call for Clarity in Reporting BLEU Scores", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Scores(NamedTuple):
    """Both from 0 to 100, of a whole corpus."""

    bleu: float
    chrf: float


def scores(outputs: Sequence[str], references: Sequence[str], *, lower: bool = False) -> Scores:
    """BLEU with the tokens of "13a", and chrF2 of up to 6 characters, with one reference for each output.

    Args:
        lower: ignore the case.

    >>> scores(["the cat sat on the mat"], ["the cat sat on the mat"])
    Scores(bleu=100.0, chrf=100.0)
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu = BLEU(lowercase=lower).corpus_score(outputs, [references]).score
    chrf = CHRF(lowercase=lower).corpus_score(outputs, [references]).score
    return Scores(round(bleu, 10), round(chrf, 10))
