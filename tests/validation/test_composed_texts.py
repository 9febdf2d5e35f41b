"""Texts composed on the device say what the attributes say, in another order at another place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.errors import DataError
from neuroalign.nn.random import RandomStreams
from neuroalign.validation.celeba import celeba
from neuroalign.validation.celeba_text import ALPHABET, decode_text, words_of
from neuroalign.validation.fitting import FitKey, fit
from neuroalign.validation.settings import StudySettings
from neuroalign.validation.sources import ComposedTexts

NAMES = ("Bald", "Big_Nose", "5_o_Clock_Shadow", "Young", "No_Beard")
WORDS = ("bald", "big nose", "5 o clock shadow", "young", "no beard")
KINDS = len(ALPHABET)


def composed(present: np.ndarray, n_positions: int, seed: int = 0) -> ComposedTexts:
    words = words_of(NAMES)
    return ComposedTexts(
        torch.from_numpy(present),
        torch.from_numpy(words.symbols),
        torch.from_numpy(words.lengths),
        words.separator,
        (n_positions, KINDS),
        RandomStreams([seed]),
    )


def read(texts: torch.Tensor) -> list[str]:
    return [decode_text(row) for row in texts[0].numpy()]


@given(
    present=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
    spare=st.integers(0, 40),
)
@settings(deadline=None, max_examples=60)
def test_texts_name_what_is_present_once_in_one_piece(
    present: list[list[bool]], seed: int, spare: int
) -> None:
    n_positions = len(", ".join(WORDS)) + spare
    source = composed(np.array(present), n_positions, seed)
    channels, texts = source.gather(torch.arange(len(present))[None])
    assert channels.shape == (1, len(present), KINDS, n_positions)
    assert torch.equal(channels.argmax(2), texts)
    assert bool((channels.sum(2) == 1).all())
    for row, text in zip(present, read(texts), strict=True):
        named = text.strip("*").split(", ") if text.strip("*") else []
        assert sorted(named) == sorted(w for w, there in zip(WORDS, row, strict=True) if there)


def test_orders_and_places_are_uniform() -> None:
    present = np.tile([True, False, False, True, False], (6000, 1))
    source = composed(present, len("bald, young") + 3)
    texts = read(source.gather(torch.arange(6000)[None])[1])
    found, counts = np.unique(texts, return_counts=True)
    expected = {
        "*" * start + text + "*" * (3 - start)
        for text in ("bald, young", "young, bald")
        for start in range(4)
    }
    assert set(found) == expected
    # eight texts, each with probability 1/8: five standard deviations of a count
    assert np.abs(counts - 750).max() < 5 * np.sqrt(6000 / 8 * 7 / 8)


def test_texts_that_do_not_fit_are_cut() -> None:
    source = composed(np.ones((50, 5), dtype=bool), 20)
    for text in read(source.gather(torch.arange(50)[None])[1]):
        assert "*" not in text
        assert any(text.startswith(word[:20]) for word in WORDS)


def test_every_epoch_draws_its_own_texts_and_a_seed_draws_them_again() -> None:
    source = composed(np.ones((30, 5), dtype=bool), 80)
    rows = torch.arange(30)[None]
    first, second = source.gather(rows)[1], source.gather(rows)[1]
    assert not torch.equal(first, second)
    source.streams.reseed(0)
    assert torch.equal(source.gather(rows)[1], first)
    assert source.n_examples == 30


def test_words_that_are_written_alike_are_refused() -> None:
    with pytest.raises(DataError, match="both written 'big nose'"):
        words_of(["Big_Nose", "big nose"])


def test_texts_of_faces_are_redrawn_and_images_stay() -> None:
    faces = celeba(n_train=24, n_validation=2, n_test=2)
    small = StudySettings(epochs=2, n_latents=2, image_filters=(4,), text_filters=(4,))
    again = StudySettings(**{**vars(small), "redraw": True})
    key, cpu = FitKey("mm-vamp", 1.0, 0), torch.device("cpu")
    redrawn, same, fixed = (fit(faces, told, key, device=cpu)[1] for told in (again, again, small))
    assert redrawn == same
    assert redrawn != fixed
