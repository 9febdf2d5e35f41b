"""Images and texts on the device, as bytes; floats are made of the batch alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuroalign.training.sources import Mixing


class ImageSource:
    """Images of one modality; example i is row i.

    Parameters
    ----------
    images : Tensor of uint8, (example, channel, height, width)
        Values 0 to 255, which encoder and likelihood see as 0 to 1.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @property
    def n_examples(self) -> int:
        """How many images there are."""
        return len(self.images)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return these images twice, (replicate, row, channel, height, width)."""
        del mixed  # an image is a whole
        images = self.images[index].to(torch.get_default_dtype()).mul_(1.0 / 255.0)
        return images, images


class TextSource:
    """Texts of one modality; example i is row i.

    Parameters
    ----------
    texts : Tensor of uint8, (example, position)
        Numbers of symbols.
    n_symbols : int
        Size of the alphabet.
    """

    def __init__(self, texts: Tensor, n_symbols: int) -> None:
        self.texts = texts
        self.n_symbols = n_symbols

    @property
    def n_examples(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return these texts as one channel per symbol, and as numbers of symbols."""
        del mixed
        texts = self.texts[index].long()
        symbols = torch.arange(self.n_symbols, device=texts.device).unsqueeze(-1)
        # compared and turned, rather than one_hot, so that channels come before positions
        return (texts.unsqueeze(-2) == symbols).to(torch.get_default_dtype()), texts


def source_of(values: np.ndarray, n_symbols: int, device: torch.device) -> ImageSource | TextSource:
    """Put one modality's observations on the device; `n_symbols` of 0 means images."""
    there = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    return TextSource(there, n_symbols) if n_symbols else ImageSource(there)
