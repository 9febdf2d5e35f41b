"""The text view of a face: the names of its attributes, somewhere in a row of symbols."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.validation.dataset import Words

LongTexts = Literal["error", "cut"]

PADDING: Final = "*"
SEPARATOR: Final = ", "
# padding is symbol 0; 41 symbols, as many as in the published experiment
ALPHABET: Final = PADDING + "abcdefghijklmnopqrstuvwxyz0123456789 ,.-"
N_POSITIONS: Final = 256
SHORTEST_PIECE: Final = 3  # symbols of a name that was cut off, below which it is not guessed

_NUMBERS: Final = np.full(128, 255, dtype=np.uint8)
_NUMBERS[[ord(symbol) for symbol in ALPHABET]] = np.arange(len(ALPHABET), dtype=np.uint8)


def encode_text(text: str) -> np.ndarray:
    """Turn a text into the numbers of its symbols.

    Parameters
    ----------
    text : str
        Of symbols of `ALPHABET`: small letters, digits, space, comma, full stop, hyphen, and
        the padding ``*``, which is symbol 0.

    Returns
    -------
    ndarray of uint8
        (position,).

    Raises
    ------
    DataError
        If a symbol is not in the alphabet.

    Examples
    --------
    >>> encode_text("bald*")
    array([ 2,  1, 12,  4,  0], dtype=uint8)
    """
    # a symbol beyond ASCII becomes "?", which is not in the alphabet either
    numbers: np.ndarray = _NUMBERS[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)]
    if (numbers == 255).any():
        place = int(np.argmax(numbers == 255))
        raise DataError(
            f"symbol {text[place]!r} at position {place} of {text!r} is not in the alphabet "
            f"{ALPHABET!r}."
        )
    return numbers


def decode_text(numbers: np.ndarray) -> str:
    """Turn numbers of symbols back into the text.

    Parameters
    ----------
    numbers : array of int
        (position,), each below 41.

    Returns
    -------
    str
        As many symbols as there are numbers; padding stays.

    Raises
    ------
    DataError
        If a number belongs to no symbol.

    Examples
    --------
    >>> decode_text(encode_text("gray hair, bald**"))
    'gray hair, bald**'
    """
    values = np.asarray(numbers)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise DataError(
            f"numbers of symbols must be whole and of shape (position,), got {values.dtype} of "
            f"{values.shape}."
        )
    if values.size and (values.min() < 0 or values.max() >= len(ALPHABET)):
        wrong = values.min() if values.min() < 0 else values.max()
        raise DataError(f"the alphabet has symbols 0 to {len(ALPHABET) - 1}, got {wrong}.")
    return "".join(ALPHABET[number] for number in values)


def attribute_words(name: str) -> str:
    """Return an attribute's name as it stands in texts.

    Raises
    ------
    DataError
        If it holds symbols that texts do not have.

    Examples
    --------
    >>> attribute_words("5_o_Clock_Shadow")
    '5 o clock shadow'
    """
    words = " ".join(name.replace("_", " ").lower().split())
    strange = sorted(set(words) - set(ALPHABET[1:]))
    if strange or not words:
        what = f"has {strange[0]!r}" if strange else "is empty"
        raise DataError(f"the attribute name {name!r} {what}; texts can hold {ALPHABET[1:]!r}.")
    return words


def place_text(
    attributes: Sequence[str],
    generator: np.random.Generator,
    *,
    n_positions: int = N_POSITIONS,
    long_texts: LongTexts = "error",
) -> str:
    """Write the names of the attributes that are present, in random order at a random place.

    Parameters
    ----------
    attributes : sequence of str
        Names of the attributes present, such as "Black_Hair".
    generator : Generator
        Draws the order and the place.
    n_positions : int, default=256
        Length of the result; what the names leave is padding.
    long_texts : {"error", "cut"}, default="error"
        What to do with names that do not fit: refuse, or keep the first `n_positions` symbols.

    Returns
    -------
    str
        `n_positions` symbols.

    Raises
    ------
    DataError
        If the names do not fit and `long_texts` is "error".
    ParameterError
        If `long_texts` has another value.

    Examples
    --------
    >>> generator = np.random.default_rng(1)
    >>> place_text(["Bald", "Male", "Big_Nose"], generator, n_positions=24)
    'bald, male, big nose****'
    """
    if long_texts not in {"error", "cut"}:
        raise ParameterError(f"long_texts must be 'error' or 'cut', got {long_texts!r}.")
    words = [attribute_words(name) for name in attributes]
    return _place_words(words, generator, n_positions, long_texts)


def _place_words(
    words: Sequence[str], generator: np.random.Generator, n_positions: int, long_texts: LongTexts
) -> str:
    text = SEPARATOR.join(words[place] for place in generator.permutation(len(words)))
    spare = n_positions - len(text)
    if spare < 0 and long_texts == "error":
        raise DataError(
            f"the names of {len(words)} attributes take {len(text)} symbols, but a text has "
            f"{n_positions}: {text!r}; pass long_texts='cut' to keep the first {n_positions}."
        )
    start = int(generator.integers(max(spare, 0) + 1))
    return (PADDING * start + text).ljust(n_positions, PADDING)[:n_positions]


def write_texts(
    labels: np.ndarray,
    attribute_names: Sequence[str],
    row_names: Sequence[str],
    *,
    seed: int,
    n_positions: int = N_POSITIONS,
    long_texts: LongTexts = "error",
) -> np.ndarray:
    """Write the text of every row, as numbers of symbols.

    A row's order and place depend on the seed and on its name only, not on the other rows.

    Parameters
    ----------
    labels : array of bool
        (row, attribute): what is present.
    attribute_names, row_names : sequence of str
        As many as columns and rows.
    seed : int
        Of the random streams.
    n_positions : int, default=256
        Length of each text.
    long_texts : {"error", "cut"}, default="error"
        See `place_text`.

    Returns
    -------
    ndarray of uint8
        (row, position).

    Raises
    ------
    DataError
        If two attributes have the same words, or names do not fit.

    Warns
    -----
    DataWarning
        If texts were cut.

    Examples
    --------
    >>> numbers = write_texts(np.eye(2, dtype=bool), ["Bald", "Smiling"], ["1.jpg", "2.jpg"],
    ...                       seed=0, n_positions=12)
    >>> [decode_text(row) for row in numbers]
    ['**bald******', '*****smiling']
    """
    words = _distinct_words(attribute_names)
    texts = np.zeros((len(row_names), n_positions), dtype=np.uint8)
    lengths = _text_lengths(labels, words)
    for row, row_name in enumerate(row_names):
        present = [words[place] for place in np.flatnonzero(labels[row])]
        generator = named_generator(seed, "text", row_name)
        try:
            text = _place_words(present, generator, n_positions, long_texts)
        except DataError as problem:
            raise DataError(f"{row_name}: {problem}") from problem
        texts[row] = encode_text(text)
    n_cut = int((lengths > n_positions).sum())
    if n_cut:
        warnings.warn(
            f"the texts of {n_cut} of {len(texts)} rows were cut to {n_positions} symbols; the "
            f"longest has {lengths.max()}. Labels keep all attributes.",
            DataWarning,
            stacklevel=2,
        )
    return texts


def words_of(attribute_names: Sequence[str]) -> Words:
    """Return the words of attributes as numbers of symbols, to compose texts anew.

    Raises
    ------
    DataError
        If two attributes have the same words.

    Examples
    --------
    >>> words = words_of(["Bald", "Big_Nose"])
    >>> [decode_text(row) for row in words.symbols]
    ['bald, ****', 'big nose, ']
    """
    pieces = [encode_text(words + SEPARATOR) for words in _distinct_words(attribute_names)]
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    symbols = np.zeros((len(pieces), lengths.max(initial=0)), dtype=np.uint8)
    for row, piece in zip(symbols, pieces, strict=True):
        row[: len(piece)] = piece
    return Words(symbols, lengths, len(SEPARATOR))


def attributes_of_text(text: str, attribute_names: Sequence[str]) -> set[str]:
    """Return the attributes that a text names.

    A name counts where it stands as whole words, whatever lies around it. Where the text runs
    to its very end (or from its very start), a name that is cut off there counts if three of
    its symbols or more are left and only one name ends (or begins) like it.

    Parameters
    ----------
    text : str
        A text as `decode_text` returns it, also one that a model wrote.
    attribute_names : sequence of str
        What to look for.

    Returns
    -------
    set of str
        Names out of `attribute_names`.

    Examples
    --------
    >>> sorted(attributes_of_text("***big nose, qx bald, smil", ["Bald", "Big_Nose", "Smiling"]))
    ['Bald', 'Big_Nose', 'Smiling']
    >>> attributes_of_text("big nosy, balding***", ["Bald", "Big_Nose"])
    set()
    """
    pattern, by_words = _pattern(tuple(attribute_names))
    found = {by_words[match.group()] for match in pattern.finditer(text)}
    pieces = text.split(",")
    last, first = pieces[-1].lstrip(" " + PADDING), pieces[0].rstrip(" " + PADDING)
    for piece, fits in ((last, str.startswith), (first, str.endswith)):
        # a piece is cut only where the text runs up to its edge
        if len(piece.strip()) < SHORTEST_PIECE or PADDING in piece or pattern.search(piece):
            continue
        meant = [name for words, name in by_words.items() if fits(words, piece)]
        if len(meant) == 1:
            found.add(meant[0])
    return found


def labels_of_texts(texts: np.ndarray, attribute_names: Sequence[str]) -> np.ndarray:
    """Return what `attributes_of_text` finds in each row of numbers of symbols.

    Parameters
    ----------
    texts : array of int
        (row, position).
    attribute_names : sequence of str
        What to look for.

    Returns
    -------
    ndarray of bool
        (row, attribute).

    Examples
    --------
    >>> labels_of_texts(np.stack([encode_text("*bald"), encode_text("*****")]), ["Bald", "Male"])
    array([[ True, False],
           [False, False]])
    """
    names = list(attribute_names)
    labels = np.zeros((len(texts), len(names)), dtype=bool)
    for row, numbers in enumerate(texts):
        found = attributes_of_text(decode_text(numbers), names)
        labels[row] = [name in found for name in names]
    return labels


def _distinct_words(names: Sequence[str]) -> list[str]:
    seen: dict[str, str] = {}
    for name in names:
        words = attribute_words(name)
        if words in seen:
            raise DataError(
                f"the attributes {seen[words]!r} and {name!r} are both written {words!r}; "
                "rename one."
            )
        seen[words] = name
    return list(seen)


def _text_lengths(labels: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """Return how many symbols the names of each row take."""
    present = np.asarray(labels, dtype=np.int64)
    lengths = np.array([len(each) + len(SEPARATOR) for each in words], dtype=np.int64)
    totals: np.ndarray = np.maximum(present @ lengths - len(SEPARATOR), 0)
    return totals


@lru_cache(maxsize=8)
def _pattern(names: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    by_words = {attribute_words(name): name for name in names}
    # longer names first, so that "no beard" is not read as "beard"
    choices = "|".join(re.escape(words) for words in sorted(by_words, key=len, reverse=True))
    return re.compile(rf"(?<![a-z0-9])(?:{choices})(?![a-z0-9])"), by_words
