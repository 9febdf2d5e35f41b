"""Images and texts on the device, as bytes; floats are made of the batch alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuroalign.nn.random import RandomStreams
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


class ComposedImages:
    """Images that are composed anew whenever they are gathered, on the device.

    The digit of an example stays; its place and the piece of background change, so that no
    epoch repeats another.

    Parameters
    ----------
    digits : Tensor of bool, (example, height, width)
        Where the digits are.
    background : Tensor of uint8, (channel, height, width)
        Of which pieces are cut.
    side : int
        Height and width of an image.
    streams : RandomStreams
        Draws places and corners: those of the fit, which reseeds them by epoch.
    """

    def __init__(
        self, digits: Tensor, background: Tensor, side: int, streams: RandomStreams
    ) -> None:
        self.digits = digits
        self.background = background
        self.side = side
        self.streams = streams
        room = [side - digits.shape[1] + 1, side - digits.shape[2] + 1]
        room += [length - side + 1 for length in background.shape[1:]]
        self._room = torch.tensor(room, device=digits.device)

    @property
    def n_examples(self) -> int:
        """How many digits there are."""
        return len(self.digits)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return fresh images of these digits twice, (replicate, row, channel, height, width)."""
        del mixed
        drawn = (self.streams.uniform(*index.shape[1:], 4) * self._room).long().flatten(0, -2)
        composed = compose_images(
            self.digits[index.flatten()], self.background, drawn[:, :2], drawn[:, 2:], self.side
        )
        images = composed.reshape(*index.shape, *composed.shape[1:])
        images = images.to(torch.get_default_dtype()).mul_(1.0 / 255.0)
        return images, images


def compose_images(
    digits: Tensor, background: Tensor, place: Tensor, corner: Tensor, side: int
) -> Tensor:
    """Do on the device what `neuroalign.validation.polymnist.compose` does in numpy.

    Parameters
    ----------
    digits : Tensor of bool, (image, height, width)
        Where the digits are.
    background : Tensor of uint8, (channel, height, width)
        Of which pieces are cut.
    place, corner : Tensor of int64, (image, 2)
        First row and column of the digit in the image, and of the piece in the background.
    side : int
        Height and width of an image.
    """
    steps = torch.arange(side, device=digits.device)
    row, column = (corner[:, axis, None] + steps for axis in (0, 1))
    pieces = background[:, row[:, :, None], column[:, None, :]].transpose(0, 1)
    inside = [
        place[:, axis, None] + torch.arange(digits.shape[1 + axis], device=digits.device)
        for axis in (0, 1)
    ]
    mask = torch.zeros(len(digits), side, side, dtype=torch.bool, device=digits.device)
    image = torch.arange(len(digits), device=digits.device)[:, None, None]
    mask[image, inside[0][:, :, None], inside[1][:, None, :]] = digits
    return torch.where(mask.unsqueeze(1), 255 - pieces, pieces)


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
        return one_channel_per_symbol(texts, self.n_symbols), texts


class ComposedTexts:
    """Texts that are composed anew whenever they are gathered, on the device.

    The attributes of an example stay; their order and the place of the text change, as
    `neuroalign.validation.celeba_text.place_text` draws them.

    Parameters
    ----------
    present : Tensor of bool, (example, attribute)
        Which attributes a text names.
    symbols : Tensor of uint8, (attribute, position)
        Words of each attribute and a separator; 0 is padding.
    lengths : Tensor of int64, (attribute,)
        Symbols of each, with the separator.
    separator : int
        Symbols of the separator.
    shape : tuple of int
        Positions of a text, and size of the alphabet.
    streams : RandomStreams
        Draws orders and places: those of the fit, which reseeds them by epoch.
    """

    def __init__(
        self,
        present: Tensor,
        symbols: Tensor,
        lengths: Tensor,
        separator: int,
        shape: tuple[int, int],
        streams: RandomStreams,
    ) -> None:
        self.present = present
        self.symbols = symbols
        self.lengths = lengths
        self.separator = separator
        self.n_positions, self.n_symbols = shape
        self.streams = streams

    @property
    def n_examples(self) -> int:
        """How many rows of attributes there are."""
        return len(self.present)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return fresh texts of these rows, one channel per symbol, and as numbers."""
        del mixed
        present = self.present[index.flatten()]
        drawn = self.streams.uniform(*index.shape[1:], present.shape[1] + 1).flatten(0, -2)
        order = (drawn[:, 1:] + (~present).to(drawn.dtype)).argsort(1)  # those present first
        lengths = self.lengths[order] * present.gather(1, order)
        ends = lengths.cumsum(1)
        total = (ends[:, -1:] - self.separator).clamp(min=0)
        spare = (self.n_positions - total).clamp(min=0)
        start = (drawn[:, :1] * (spare + 1)).long()
        place = torch.arange(self.n_positions, device=ends.device) - start
        words = torch.searchsorted(ends, place, right=True).clamp(max=order.shape[1] - 1)
        within = (place - (ends - lengths).gather(1, words)).clamp(0, self.symbols.shape[1] - 1)
        texts = self.symbols[order.gather(1, words), within].long()
        texts = texts.masked_fill((place < 0) | (place >= total), 0)
        texts = texts.reshape(*index.shape, self.n_positions)
        return one_channel_per_symbol(texts, self.n_symbols), texts


def one_channel_per_symbol(texts: Tensor, n_symbols: int) -> Tensor:
    """Turn numbers of symbols, (..., position), into (..., symbol, position) of 0 and 1."""
    symbols = torch.arange(n_symbols, device=texts.device).unsqueeze(-1)
    # compared and turned, rather than one_hot, so that channels come before positions
    return (texts.unsqueeze(-2) == symbols).to(torch.get_default_dtype())


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device; workers hold arrays that nobody may write to."""
    return torch.from_numpy(np.array(values, order="C")).to(device)


def source_of(values: np.ndarray, n_symbols: int, device: torch.device) -> ImageSource | TextSource:
    """Put one modality's observations on the device; `n_symbols` of 0 means images."""
    there = on_device(values, device)
    return TextSource(there, n_symbols) if n_symbols else ImageSource(there)
