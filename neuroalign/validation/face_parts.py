"""What the parts of a drawn face look like, with and without each attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from neuroalign.validation.face_canvas import Canvas, Colour, arc, darker, lighter, mix

SKINS: Final[tuple[Colour, ...]] = (
    (237, 188, 152),
    (226, 172, 132),
    (208, 150, 108),
    (178, 120, 80),
    (138, 90, 60),
    (104, 68, 48),
)
PALE: Final[Colour] = (247, 228, 219)
HAIR: Final[Mapping[str, Colour]] = {
    "Black_Hair": (26, 23, 28),
    "Blond_Hair": (232, 200, 112),
    "Brown_Hair": (112, 70, 38),
    "Gray_Hair": (176, 178, 184),
}
USUAL_SKINS: Final[Mapping[str, int]] = {"Blond_Hair": 3, "Brown_Hair": 5}
NO_NAMED_HAIR: Final[tuple[Colour, ...]] = ((186, 72, 30), (150, 40, 36), (206, 98, 54))
EYES: Final[tuple[Colour, ...]] = ((84, 52, 30), (70, 110, 160), (80, 120, 80), (120, 84, 40))
LIPSTICKS: Final[tuple[Colour, ...]] = (
    (198, 16, 44),
    (160, 18, 84),
    (228, 46, 120),
    (226, 58, 48),
)
FRAMES: Final[tuple[Colour, ...]] = ((20, 20, 24), (70, 30, 24), (30, 40, 90), (110, 20, 30))
METALS: Final[tuple[Colour, ...]] = ((250, 204, 60), (235, 238, 245), (40, 190, 190), (230, 40, 70))
WHITE: Final[Colour] = (250, 250, 248)

EYE_X, EYE_Y, BROW_Y, MOUTH_Y = 17.0, -4.0, -17.0, 34.0


@dataclass(frozen=True)
class Style:
    """What one face looks like, apart from its attributes."""

    half_width: float
    jaw: float  # share by which the chin is narrower
    square: float  # power that makes a face square, below 1
    skin: Colour
    hair: Colour
    iris: Colour
    length: float  # where long hair ends
    part: float  # where it is parted
    line: float  # where a man's hair begins
    shirt: Colour
    hat: Colour
    variant: float  # in [0, 1), picks the kind of hat, glasses, jewellery
    second: float  # a second one


def pick(colours: tuple[Colour, ...], share: float) -> Colour:
    """Return the colour at this share, in [0, 1), of the list."""
    return colours[int(share * len(colours))]


def outline(style: Style, start: float = 0.0, stop: float = 360.0, grow: float = 1.0) -> np.ndarray:
    """Return points of the face's edge, (point, 2); 0 is right, 90 degrees is the chin."""
    angles = np.radians(np.linspace(start, stop, 60))
    cos, sin = np.cos(angles), np.sin(angles)
    x = style.half_width * np.sign(cos) * np.abs(cos) ** style.square
    y = np.where(sin > 0, 58.0, 54.0) * sin
    x *= 1.0 - np.where(sin > 0, style.jaw * sin**2, 0.0)
    return np.stack([grow * x, grow * y], axis=1)


def draw_body(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw neck and shirt; a man's are wider."""
    neck = 19.0 if has["Male"] else 14.0
    wide = 82.0 if has["Male"] else 68.0
    canvas.ellipse(0, 122, wide, 50, style.shirt)
    canvas.ellipse(0, 122, wide - 6, 46, lighter(style.shirt, 0.08))
    canvas.polygon([(-neck, 30), (neck, 30), (neck + 4, 84), (-neck - 4, 84)], style.skin)
    canvas.ellipse(0, 84, neck + 4, 12, style.skin)
    canvas.ellipse(0, 52, neck, 17, darker(style.skin, 0.22))


def draw_head(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw ears and face, a bald head's gleam, rosy cheeks, and the folds of a smile."""
    skin = style.skin
    for side in (-1.0, 1.0):
        x = side * (style.half_width + 1)
        canvas.ellipse(x, 1, 6.5, 10.5, darker(skin, 0.08))
        canvas.ellipse(x, 1, 3.5, 7, darker(skin, 0.2))
    canvas.polygon(outline(style), skin)
    canvas.polygon(outline(style, 25, 155), darker(skin, 0.3), 0.10)
    canvas.glow(0, -26, 22, 12, lighter(skin, 0.5), 0.18)
    if has["Bald"]:
        canvas.glow(-9, -40, 15, 8, lighter(skin, 0.75), 0.6)
    for side in (-1.0, 1.0):
        if has["Rosy_Cheeks"]:
            canvas.glow(side * 23, 16, 12.5, 9.5, (226, 44, 72), 0.62)
        if has["Smiling"]:
            fold = (
                arc(side * 12, 26, 11, 15, -60, 20) if side > 0 else arc(-12, 26, 11, 15, 240, 160)
            )
            canvas.line(fold, darker(skin, 0.35), 1.4, 0.55)


def draw_eye(canvas: Canvas, style: Style, has: Mapping[str, bool], side: float) -> None:
    """Draw one eye and its brow, thick if bushy; a woman's eyes have lashes."""
    x, male = side * EYE_X, has["Male"]
    canvas.glow(x, EYE_Y - 3, 12, 7, darker(style.skin, 0.45), 0.22)
    canvas.ellipse(x, EYE_Y, 8.6, 5.0, WHITE)
    canvas.ellipse(x, EYE_Y, 4.4, 4.6, style.iris)
    canvas.ellipse(x, EYE_Y, 2.2, 2.3, (12, 10, 12))
    canvas.ellipse(x + 1.6, EYE_Y - 1.7, 1.1, 1.1, WHITE)
    lid = arc(x, EYE_Y + 1, 9.2, 6.4, 185, 355)
    canvas.line(lid, darker(style.skin, 0.75), 1.6 if male else 2.4)
    if not male:
        canvas.line([(x + side * 8, EYE_Y - 1), (x + side * 12, EYE_Y - 5)], (30, 22, 24), 1.6)
    bushy = has["Bushy_Eyebrows"]
    brow = mix(darker(style.hair, 0.35), (50, 34, 26), 0.35)
    curve = arc(x, BROW_Y + 9, 13.0, 10.0, 212, 328, 14)
    if bushy:
        canvas.line(curve + np.array([0, -1.5]), darker(brow, 0.45), 7.0)
        for start in curve[1:-1:2]:
            canvas.line([start, start + np.array([side * 2.5, -6.5])], darker(brow, 0.45), 1.6)
    else:
        canvas.line(curve, brow, 2.3 if male else 1.5)


def draw_nose(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw a small nose or a big one."""
    skin = style.skin
    shadow, deep = darker(skin, 0.18), darker(skin, 0.5)
    if has["Big_Nose"]:
        canvas.polygon([(-4, -6), (4, -6), (9, 12), (-9, 12)], darker(skin, 0.07))
        for side in (-1.0, 1.0):
            canvas.ellipse(side * 10, 14, 6.5, 6.0, shadow)
        canvas.ellipse(0, 13.5, 10.5, 8.5, mix(lighter(skin, 0.08), (220, 90, 80), 0.14))
        canvas.glow(-3, 9, 5, 4, WHITE, 0.45)
        canvas.line([(5, -5), (11, 9)], deep, 1.6, 0.6)
        nostril, wide, bottom = 7.0, 3.4, 18.5
    else:
        canvas.line([(2.5, -4), (4.5, 10)], shadow, 1.6)
        canvas.ellipse(0, 12.5, 5.0, 3.8, darker(skin, 0.08))
        canvas.glow(-0.5, 9, 2.5, 4, WHITE, 0.3)
        nostril, wide, bottom = 3.2, 1.5, 14.8
    for side in (-1.0, 1.0):
        canvas.ellipse(side * nostril, bottom, wide, 0.55 * wide, deep)


def _curve(half: float, corner: float, middle: float) -> np.ndarray:
    """Return a parabola between the mouth's corners, from left to right."""
    x = np.linspace(-1.0, 1.0, 17)
    return np.stack([half * x, MOUTH_Y + corner + (middle - corner) * (1 - x**2)], axis=1)


def draw_mouth(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw lips (coloured or not), curved in a smile, with teeth where the mouth is open."""
    smiling, is_open, lipstick = (
        has["Smiling"],
        has["Mouth_Slightly_Open"],
        has["Wearing_Lipstick"],
    )
    half, corner, middle = (17.5, -6.5, 1.5) if smiling else (11.5, 0.5, 0.0)
    gap = (9.0 if smiling else 8.0) if is_open else 0.0
    thick = 4.6 if lipstick else 2.0 if has["Male"] else 2.5
    natural = mix(style.skin, (165, 70, 70), 0.38)
    lips = pick(LIPSTICKS, style.second) if lipstick else natural
    if is_open and not smiling:
        half -= 2.0
    upper, lower = _curve(half, corner, middle), _curve(half, corner, middle + gap)
    top = _curve(half + 1.5, corner, middle - thick)
    bottom = _curve(half + 1.5, corner, middle + gap + 1.2 * thick)
    canvas.polygon(np.concatenate([top, bottom[::-1]]), lips)
    if is_open:
        canvas.polygon(np.concatenate([upper, lower[::-1]]), (70, 14, 22))
        teeth = _curve(0.92 * half, corner, middle + (6.0 if smiling else 2.6))
        canvas.polygon(np.concatenate([_curve(0.92 * half, corner, middle), teeth[::-1]]), WHITE)
    else:
        canvas.line(upper, darker(lips, 0.5), 1.6)
    if lipstick:
        canvas.glow(-2, MOUTH_Y + middle + gap + 0.5 * thick, 5, 1.5, WHITE, 0.5)


def draw_glasses(canvas: Canvas, style: Style) -> None:
    """Draw round or angular glasses, some of them dark."""
    frame = pick(FRAMES, style.variant)
    for side in (-1.0, 1.0):
        x = side * EYE_X
        if style.second < 0.15:
            canvas.ellipse(x, EYE_Y + 1, 13.5, 11.5, (24, 24, 30), 0.72)
        if style.second < 0.6:
            canvas.ring(x, EYE_Y + 1, 13.5, 11.5, frame, 2.8)
        else:
            low, high = EYE_Y - 9.5, EYE_Y + 10.5
            box = [(x - 13, low), (x + 13, low), (x + 12, high), (x - 12, high)]
            canvas.line([*box, box[0], box[1]], frame, 2.8)
        canvas.line(
            [(side * 30, EYE_Y - 2), (side * (style.half_width + 3), EYE_Y - 4)], frame, 2.4
        )
    canvas.line(arc(0, EYE_Y + 1, 4.5, 4, 190, 350), frame, 2.6)


def draw_earrings(canvas: Canvas, style: Style) -> None:
    """Draw hoops or drops below both ears."""
    metal = pick(METALS, style.variant)
    for side in (-1.0, 1.0):
        x = side * (style.half_width + 4)
        if style.second < 0.4:
            canvas.ring(x, 24, 6.5, 8.5, darker(metal, 0.55), 4.6)
            canvas.ring(x, 24, 6.5, 8.5, metal, 3.2)
        else:
            canvas.ellipse(x, 15, 3.0, 3.0, metal)
            canvas.ellipse(x, 26, 5.8, 9.2, darker(metal, 0.55))
            canvas.ellipse(x, 26, 4.8, 8.2, metal)
            canvas.ellipse(x - 1.2, 23, 1.4, 2.6, WHITE, 0.8)
