"""Words of a sentence that is typed as people write it, split as in the text that a tagger was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

APOSTROPHES = frozenset("'\u2019")


def split_words(text: str, knows: Callable[[str], bool]) -> list[str]:
    """Split at spaces, and what is no word of the vocabulary also at punctuation and before an apostrophe's ending.

    Text that is already split, as in "Mr. Smith did n't .", stays as it is if its words are known.

    Args:
        knows: whether a word is in the vocabulary.

    >>> vocabulary = {"mr.", "do", "n't", "'s", "...", ",", "e-mail"}
    >>> split_words("Mr. Smith's e-mail, don't...", lambda word: word.lower() in vocabulary)
    ['Mr.', 'Smith', "'s", 'e-mail', ',', 'do', "n't", '...']
    """
    return [word for chunk in text.split() for word in _parts(chunk, knows)]


def _parts(chunk: str, knows: Callable[[str], bool]) -> Iterator[str]:
    """The words of a text without spaces."""
    after: list[str] = []
    while chunk and not knows(chunk) and (size := _run(chunk, knows)):
        yield chunk[:size]
        chunk = chunk[size:]
    while chunk and not knows(chunk) and (size := _run(chunk[::-1], lambda part: knows(part[::-1]))):
        after.append(chunk[-size:])
        chunk = chunk[:-size]
    if chunk and not knows(chunk):
        cut = next((i for i in range(1, len(chunk)) if _is_ending(chunk, i, knows)), len(chunk))
        yield from (part for part in (chunk[:cut], chunk[cut:]) if part)
    elif chunk:
        yield chunk
    yield from reversed(after)


def _run(text: str, knows: Callable[[str], bool]) -> int:
    """The length of the punctuation that a text starts with: the longest part that is known, or one character."""
    end = next((i for i, character in enumerate(text) if character.isalnum()), len(text))
    if end == 0:
        return 0
    return next((size for size in range(end, 1, -1) if knows(text[:size])), 1)


def _is_ending(word: str, cut: int, knows: Callable[[str], bool]) -> bool:
    """Whether a word consists of another one and an ending with an apostrophe, such as 's or n't."""
    start, ending = word[:cut], word[cut:]
    return bool({*ending} & APOSTROPHES) and knows(ending) and (ending[0] in APOSTROPHES or knows(start))
