"""Drawing one face by rule: its attributes, and what varies beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.validation.face_canvas import FINE, HEIGHT, WIDTH, Canvas, Colour, colour_of, jitter
from neuroalign.validation.face_hair import (
    draw_beard,
    draw_hair_at_top,
    draw_hat,
    draw_long_hair,
    draw_mustache,
)
from neuroalign.validation.face_parts import (
    EYES,
    HAIR,
    NO_NAMED_HAIR,
    PALE,
    SKINS,
    USUAL_SKINS,
    Style,
    draw_body,
    draw_earrings,
    draw_eye,
    draw_glasses,
    draw_head,
    draw_mouth,
    draw_nose,
    pick,
)

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_face(attributes: Mapping[str, bool], generator: np.random.Generator) -> Image:
    """Draw a face that has these attributes and none of the others that can be drawn.

    Background, clothes, position, size, tilt, skin, shape, light and noise vary freely, and are
    the same for other attributes and a generator in the same state.

    Parameters
    ----------
    attributes : mapping of str to bool
        As `draw_attributes` returns them.
    generator : Generator
        Source of everything that varies.

    Returns
    -------
    Image
        RGB, 178 x 218, the face where it is in CelebA's aligned images.

    Examples
    --------
    >>> from neuroalign.validation.drawn_faces import draw_attributes
    >>> generator = np.random.default_rng(0)
    >>> draw_face(draw_attributes(generator), generator).size
    (178, 218)
    """
    has = dict(attributes)
    style = _draw_style(has, generator)
    canvas = Canvas(
        _draw_background(generator),
        (float(generator.uniform(-4, 4)), float(generator.uniform(-5, 1))),
        float(generator.uniform(0.92, 1.03)),
        float(generator.normal(0.0, 0.04)),
    )
    _draw_blobs(canvas, generator)
    hair_at_top = not (has["Wearing_Hat"] or has["Bald"])
    if not has["Male"]:
        draw_long_hair(canvas, style)
    draw_body(canvas, style, has)
    draw_head(canvas, style, has)
    draw_beard(canvas, style, has)
    for side in (-1.0, 1.0):
        draw_eye(canvas, style, has, side)
    draw_nose(canvas, style, has)
    draw_mouth(canvas, style, has)
    if has["Mustache"]:
        draw_mustache(canvas, style)
    if hair_at_top:
        draw_hair_at_top(canvas, style, has)
    if has["Eyeglasses"]:
        draw_glasses(canvas, style)
    if has["Wearing_Earrings"]:
        draw_earrings(canvas, style)
    if has["Wearing_Hat"]:
        draw_hat(canvas, style)
    return _light(canvas.image, generator)


def _draw_style(has: Mapping[str, bool], generator: np.random.Generator) -> Style:
    """Draw what varies; chance is taken in the same amounts whatever the attributes are."""
    male = has["Male"]
    shares = generator.random(6)
    hair, skins = _hair_and_skins(has, float(shares[0]))
    skin = jitter(pick(skins, shares[1]), 5, generator)
    width, jaw, length, line = generator.uniform([-2, 0, 58, -38], [2, 0.08, 80, -33])
    hat = generator.permutation([40, 110, 200]) + generator.integers(-35, 36, 3)
    return Style(
        half_width=float(width) + (38.5 if male else 35.5),
        jaw=float(jaw) + (0.04 if male else 0.2),
        square=0.78 if male else 0.95,
        skin=PALE if has["Pale_Skin"] else skin,
        hair=jitter(hair, 5, generator),
        iris=pick(EYES, shares[2]),
        length=float(length) if shares[3] < 0.75 else 42.0,
        part=float(generator.uniform(-14, 14)),
        line=float(line),
        shirt=colour_of(generator.integers(20, 235, 3)),
        hat=colour_of(hat),
        variant=float(shares[4]),
        second=float(shares[5]),
    )


def _hair_and_skins(has: Mapping[str, bool], share: float) -> tuple[Colour, tuple[Colour, ...]]:
    """Return the hair's colour, and the skins that may go with it."""
    for name, colour in HAIR.items():
        if has[name]:
            return colour, SKINS[: USUAL_SKINS.get(name, len(SKINS))]
    if has["Bald"] or (has["Wearing_Hat"] and has["Male"]):
        # not to be seen, but brows and beards have a colour
        return pick((*HAIR.values(), *NO_NAMED_HAIR), share), SKINS
    return pick(NO_NAMED_HAIR, share), SKINS[:4]


def _draw_background(generator: np.random.Generator) -> Image:
    """Return a smooth blend of a colour in each corner."""
    from PIL import Image

    base = generator.uniform(50, 220) + generator.normal(0, 24, 3)
    corners = np.clip(base + generator.normal(0, 26, (2, 2, 3)), 0, 255).astype(np.uint8)
    blend = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return blend.resize((FINE * WIDTH, FINE * HEIGHT), Image.Resampling.NEAREST)  # faster in two


def _draw_blobs(canvas: Canvas, generator: np.random.Generator) -> None:
    for x, y, across, down, *colour in generator.uniform(
        [-85, -100, 12, 12, 0, 0, 0], [85, 60, 45, 60, 255, 255, 255], (3, 7)
    ):
        canvas.ellipse(x, y, across, down, colour_of(np.array(colour)), 0.18)


def _light(image: Image, generator: np.random.Generator) -> Image:
    """Return the image in its final size, lit from one side, with a little noise."""
    from PIL import Image as Images
    from PIL import ImageChops

    small = image.reduce(FINE)
    across, down = generator.uniform(-0.12, 0.12), generator.uniform(-0.06, 0.06)
    slope = np.array([[-across - down, across - down], [down - across, across + down]])
    strength = generator.uniform(0.82, 1.0) * generator.uniform(0.97, 1.0, 3)
    corners = np.clip(255 * strength * (1 + slope[:, :, None]), 0, 255).astype(np.uint8)
    light = Images.fromarray(corners).resize(small.size, Images.Resampling.BILINEAR)
    lit = np.asarray(ImageChops.multiply(small, light))
    # bytes are the fastest random numbers; each stands for a level of normal noise
    noise = _noise_levels().take(generator.integers(0, 256, lit.shape, dtype=np.uint8))
    return Images.fromarray(np.clip(lit + noise, 0, 255).astype(np.uint8))


@cache
def _noise_levels() -> np.ndarray:
    """Return 256 equally likely levels of normal noise with a standard deviation of 3."""
    from statistics import NormalDist

    normal = NormalDist(0.0, 3.0)
    return np.array([round(normal.inv_cdf((level + 0.5) / 256)) for level in range(256)], np.int16)
