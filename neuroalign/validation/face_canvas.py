"""A drawing surface in the coordinates of CelebA's aligned images, and colours for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH: Final = 178
HEIGHT: Final = 218
FINE: Final = 2  # drawn so many times larger, then averaged
CENTRE: Final = (89.0, 116.0)  # of the face, in pixels of the aligned image

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | np.ndarray

_ANGLES: Final = np.linspace(0.0, 2.0 * math.pi, 40, endpoint=False)
_CIRCLE: Final = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the first colour with a share of the second in it."""
    red, green, blue = (
        round((1.0 - share) * a + share * b) for a, b in zip(first, second, strict=True)
    )
    return red, green, blue


def darker(colour: Colour, share: float) -> Colour:
    """Return the colour with a share of black in it."""
    return mix(colour, (0, 0, 0), share)


def lighter(colour: Colour, share: float) -> Colour:
    """Return the colour with a share of white in it."""
    return mix(colour, (255, 255, 255), share)


def jitter(colour: Colour, spread: float, generator: np.random.Generator) -> Colour:
    """Return the colour, each channel moved a little."""
    return colour_of(np.array(colour) + generator.normal(0.0, spread, 3))


def colour_of(channels: np.ndarray) -> Colour:
    """Return three numbers as a colour."""
    red, green, blue = np.clip(channels, 0, 255).astype(int).tolist()
    return red, green, blue


def arc(
    x: float, y: float, across: float, down: float, start: float, stop: float, number: int = 24
) -> np.ndarray:
    """Return points of an ellipse's arc, (point, 2); 0 is right, 90 degrees is down."""
    angles = np.radians(np.linspace(start, stop, number))
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)


class Canvas:
    """What is drawn moves, turns and grows with the face.

    Coordinates are offsets from the middle of an upright face of usual size, in pixels of the
    aligned image; x to the right, y down.

    Parameters
    ----------
    background : Image
        `WIDTH` x `HEIGHT` times `FINE`, drawn over.
    shift : tuple of float
        Where the face's middle lies beside its usual place, in pixels.
    scale : float
        Of the face.
    tilt : float
        In radians, clockwise.
    """

    def __init__(
        self, background: Image, shift: tuple[float, float], scale: float, tilt: float
    ) -> None:
        from PIL import ImageDraw

        self.image = background
        self._over = ImageDraw.Draw(background, "RGB")
        self._through = ImageDraw.Draw(background, "RGBA")  # mixes with what is there, slower
        self._scale = FINE * scale
        cos, sin = math.cos(tilt) * self._scale, math.sin(tilt) * self._scale
        self._turn = np.array([[cos, sin], [-sin, cos]])
        self._origin = FINE * (np.array(CENTRE) + np.array(shift))

    def _place(self, points: Points) -> list[float]:
        """Return x, y, x, y, ... on the image."""
        placed: list[float] = (np.asarray(points) @ self._turn + self._origin).ravel().tolist()
        return placed

    def polygon(self, points: Points, colour: Colour, opacity: float = 1.0) -> None:
        """Fill a polygon."""
        if opacity == 1.0:
            self._over.polygon(self._place(points), fill=colour)
        else:
            self._through.polygon(self._place(points), fill=(*colour, round(255 * opacity)))

    def ellipse(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        colour: Colour,
        opacity: float = 1.0,
    ) -> None:
        """Fill an ellipse with these half axes."""
        self.polygon(_CIRCLE * (across, down) + (x, y), colour, opacity)

    def glow(
        self, x: float, y: float, across: float, down: float, colour: Colour, opacity: float
    ) -> None:
        """Fill an ellipse that fades towards its edge."""
        for share in (1.0, 0.8, 0.6, 0.4):
            self.ellipse(x, y, share * across, share * down, colour, opacity / 2.5)

    def line(self, points: Points, colour: Colour, width: float, opacity: float = 1.0) -> None:
        """Draw a line through points, with round ends."""
        placed = self._place(points)
        thick = max(1, round(width * self._scale))
        if opacity < 1.0:
            fill = (*colour, round(255 * opacity))
            self._through.line(placed, fill=fill, width=thick, joint="curve")
            return
        self._over.line(placed, fill=colour, width=thick, joint="curve")
        half = thick / 2 - 0.5
        for x, y in (placed[:2], placed[-2:]):
            self._over.ellipse((x - half, y - half, x + half, y + half), fill=colour)

    def ring(
        self, x: float, y: float, across: float, down: float, colour: Colour, width: float
    ) -> None:
        """Draw the outline of an ellipse."""
        self.line(arc(x, y, across, down, 0.0, 375.0, 40), colour, width)
