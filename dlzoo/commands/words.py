"""Ask word vectors, of a checkpoint or a file, and write them in word2vec's format.

    dlzoo words ckpt=<run> most_similar=king
    dlzoo words ckpt=<run> analogy="france berlin -paris" method=mul
    dlzoo words ckpt=<run> odd="cat dog car" distance="king queen" vector=king
    dlzoo words vectors=GoogleNews.bin most_similar=king
    dlzoo words ckpt=<run> output=vectors.bin

Options:
    ckpt           the checkpoint, or the folder of a run or of a published model
    vectors        instead: a file in word2vec's text or binary format, or in GloVe's
    most_similar   a word: the words with the highest cosine similarity
    analogy        words, some with a minus sign: what is similar to the former and not to the latter;
                   berlin is to germany as paris is to: "germany paris -berlin"
    method         of analogies: add (3CosAdd) or mul (3CosMul); default: add
    odd            at least three words: the one that is least similar to their mean
    distance       two words: 1 - cosine similarity
    vector         a word: its vector
    top_k          words to list; default: 10
    output         a file for all vectors: .bin for word2vec's binary format, .glove for GloVe's, else word2vec's text
    trust          a package of your own that the checkpoint uses

Exit code 0 on success, 2 on an error, such as an unknown word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dlzoo.commands import cli
from dlzoo.errors import UserError, at_least, ignored_option, visible
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

if TYPE_CHECKING:
    from dlzoo.inference.words import Words

QUERIES = ("most_similar", "analogy", "odd", "distance", "vector", "output")


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str | None = None
    vectors: str | None = None
    most_similar: str | None = None
    analogy: str | None = None
    method: Literal["add", "mul"] | None = None
    odd: str | None = None
    distance: str | None = None
    vector: str | None = None
    top_k: int = 10
    output: str | None = None
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Answer as the arguments specify."""
    options, _ = cli.parse(Options, argv)
    at_least(1, top_k=options.top_k)
    if not any(getattr(options, name) is not None for name in QUERIES):
        raise UserError(f"nothing is asked: give one of {', '.join(f'{name}=…' for name in QUERIES)}")
    if options.method is not None and options.analogy is None:
        raise ignored_option("method", options.method, "analogy=…")
    if (options.ckpt is None) == (options.vectors is None):
        raise UserError("give ckpt=… or vectors=…" + ", not both" * (options.ckpt is not None))
    source = (
        model_folders.checkpoint(options.ckpt, "ckpt")
        if options.ckpt is not None
        else paths.existing_file(str(options.vectors), "vectors")
    )
    output = None if options.output is None else paths.writable(options.output, "output", source)
    words = _load(options)
    for line in answers(words, options):
        print(visible(line))
    if output is not None:
        words.save(output)
        print(f"vectors   {output}: {len(words):,} of dimension {words.vectors.shape[1]}")


def _load(options: Options) -> Words:
    from dlzoo.inference import loading
    from dlzoo.inference.words import Words

    if options.ckpt is None:
        return Words.read(paths.existing_file(str(options.vectors), "vectors"), "vectors")
    ckpt = model_folders.checkpoint(options.ckpt, "ckpt")
    task, _ = loading.load(ckpt, options.trust)
    model = task.as_word_vectors()
    if model is None:
        raise UserError(
            f"ckpt={ckpt}: its model ({type(task).__name__}) has no word vectors; give the checkpoint of word2vec or "
            "GloVe"
        )
    return Words.of_task(model)


def answers(words: Words, options: Options) -> list[str]:
    """The lines to print."""
    lines = []
    if options.most_similar is not None:
        lines += _table(words.most_similar(options.most_similar, options.top_k))
    if options.analogy is not None:
        given = options.analogy.split()
        plus, minus = [w for w in given if w[0] != "-"], [w[1:] for w in given if w[0] == "-"]
        lines += _table(words.analogy(plus, minus, method=options.method or "add", top_k=options.top_k))
    if options.odd is not None:
        lines.append(words.odd_one_out(options.odd.split()))
    if options.distance is not None:
        pair = options.distance.split()
        if len(pair) != 2:
            raise UserError(f'distance={options.distance}: give two words, as in distance="king queen"')
        lines.append(f"{words.distance(*pair):.4f}")
    if options.vector is not None:
        lines.append(" ".join(f"{value:.6g}" for value in words.vector(options.vector).tolist()))
    return lines


def _table(found: list[tuple[str, float]]) -> list[str]:
    width = max((len(word) for word, _ in found), default=0)
    return [f"{word:{width}}  {score:.4f}" for word, score in found]
