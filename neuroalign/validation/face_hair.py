"""Hair, hats and beards of drawn faces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuroalign.validation.face_canvas import Canvas, Colour, arc, darker, lighter
from neuroalign.validation.face_parts import Style, outline


def _beard_colour(style: Style, has: Mapping[str, bool]) -> Colour:
    return darker(style.hair, 0.1 if has["Gray_Hair"] else 0.3)


def draw_beard(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw a goatee, or a full beard where there is neither goatee nor mustache."""
    if has["No_Beard"]:
        return
    colour = _beard_colour(style, has)
    if has["Goatee"]:
        canvas.ellipse(0, 55, 13.5, 11.5, colour)
        canvas.polygon([(-5, 44), (5, 44), (10, 54), (-10, 54)], colour)
        for x in (-6, 0, 6):
            canvas.line([(x, 50), (0.8 * x, 63)], lighter(colour, 0.18), 1.2)
    elif not has["Mustache"]:
        outer = outline(style, -4, 184, 1.05)
        half = style.half_width
        inner = [(-half, 0), (-half + 9, 20), (-21, 40), (-11, 49), (0, 50)]
        mirrored = [(-x, y) for x, y in inner[-2::-1]]
        canvas.polygon(np.concatenate([outer, inner, mirrored]), colour)
        for x in range(-24, 25, 6):
            canvas.line(
                [(x, 53 - 0.018 * x**2), (0.96 * x, 59 - 0.022 * x**2)], lighter(colour, 0.18), 1.2
            )


def draw_mustache(canvas: Canvas, style: Style) -> None:
    """Draw a mustache."""
    colour = darker(style.hair, 0.3)
    for side in (-1.0, 1.0):
        points = [(0, 21.5), (7, 20.5), (14, 24), (20, 30.5), (13, 30.5), (6, 29.5), (0, 28)]
        canvas.polygon([(side * x, y) for x, y in points], colour)
        canvas.line([(side * 2, 24), (side * 14, 28)], lighter(colour, 0.2), 1.0)


def draw_long_hair(canvas: Canvas, style: Style) -> None:
    """Draw what lies behind the face: a woman's hair, straight or in waves."""
    half, end = style.half_width + 11, style.length
    wave = 5.0 if style.variant < 0.5 else 0.0
    down = np.linspace(-8.0, end, 24)
    sway = 0.1 * (down + 8) + wave * np.sin(down / 8.0)
    right = np.stack([half + sway, down], axis=1)
    left = right[::-1] * [-1, 1]
    canvas.polygon(np.concatenate([arc(0, -8, half, 57, 180, 360), right, left]), style.hair)
    for inset, share in ((3.5, 0.25), (8.0, -0.1), (11.0, 0.15)):
        colour = lighter(style.hair, share) if share > 0 else darker(style.hair, -2 * share)
        for points in (right - np.array([inset, 0]), left + np.array([inset, 0])):
            canvas.line(points, colour, 1.5)


def draw_hair_at_top(canvas: Canvas, style: Style, has: Mapping[str, bool]) -> None:
    """Draw a man's short hair or the front of a woman's, and a fringe."""
    half, colour = style.half_width, style.hair
    if has["Male"]:
        crown = arc(0, -10, half + 5, 53 + 5 * style.second, 172, 368, 40)
        sides = [(half - 1, -2), (half - 4, -18)]
        x = np.linspace(half - 5, -half + 5, 13)
        tilt = 0.12 * style.part / 14
        line = np.stack([x, style.line + tilt * x + 14 * (np.abs(x) / half) ** 4], axis=1)
        mirrored = [(-a, b) for a, b in sides[::-1]]
        canvas.polygon(np.concatenate([crown, sides, line, mirrored]), colour)
        strands = np.linspace(-24, 24, 7)
        roots = np.stack([strands, np.full(7, style.line - 3)], axis=1)
        across = 0.7 * strands + 0.5 * style.part
        tips = np.stack([across, -54 + 0.012 * across**2], axis=1)
    else:
        _curtains(canvas, style)
        strands = np.linspace(-26, 26, 7)
        roots = np.stack([1.15 * strands, -50 + 0.02 * (1.15 * strands - style.part) ** 2], axis=1)
        tips = np.stack([0.5 * strands + 0.5 * style.part, np.full(7, -58.0)], axis=1)
    if has["Bangs"]:
        edge = np.linspace(-half + 3, half - 3, 15)
        bottom = -23 + np.where(np.arange(15) % 2 == 0, 0.0, -4.0) + 0.002 * edge**2
        top = arc(0, -14, half - 1, 40, 180, 360, 20)
        canvas.polygon(np.concatenate([top, np.stack([edge, bottom], axis=1)[::-1]]), colour)
        roots = np.stack([0.95 * strands, np.full(7, -27.0)], axis=1)
    for index, (root, tip) in enumerate(zip(roots, tips, strict=True)):
        shade = lighter(colour, 0.22) if index % 2 else darker(colour, 0.25)
        canvas.line([root, tip], shade, 1.6)


def _curtains(canvas: Canvas, style: Style) -> None:
    """Draw long hair's front: two sides that fall from the parting."""
    half = style.half_width
    share = np.linspace(0.0, 1.0, 16)[:, None]
    for side in (-1.0, 1.0):
        parting = np.array([style.part, -46.0])
        bend = np.array([side * (half - 4), -40.0])
        temple = np.array([side * (half - 1), 16.0])
        inner = (1 - share) ** 2 * parting + 2 * share * (1 - share) * bend + share**2 * temple
        start, stop = (0, -100) if side > 0 else (180, 280)
        outer = arc(0, -8, half + 10, 57, start, stop)
        corner = [(side * (half + 10), 22)]
        canvas.polygon(np.concatenate([inner, corner, outer]), style.hair)


def draw_hat(canvas: Canvas, style: Style) -> None:
    """Draw a woollen hat, one with a visor or one with a brim, over the hair at the top."""
    colour, half = style.hat, style.half_width + 8
    dome = arc(0, -26, half, 50, 180, 360, 36)
    if style.variant < 0.4:  # woollen
        canvas.polygon(dome, colour)
        for x in np.linspace(-0.7, 0.7, 7):
            canvas.line(
                [(half * x, -30), (0.6 * half * x, -72 + 14 * x**2)], darker(colour, 0.2), 1.6
            )
        band = [(-half - 1, -38), (half + 1, -38), (half + 1, -24), (-half - 1, -24)]
        canvas.polygon(band, lighter(colour, 0.25))
    elif style.variant < 0.7:  # with a visor
        canvas.polygon(dome, colour)
        canvas.line([(0, -75), (0, -34)], darker(colour, 0.3), 1.5)
        canvas.ellipse(0, -30, half - 5, 6.5, darker(colour, 0.45))
    else:  # with a brim
        crown = [(-34, -32), (-30, -70), (-12, -77), (0, -73), (12, -77), (30, -70), (34, -32)]
        canvas.polygon(crown, colour)
        canvas.polygon([(-34, -42), (34, -42), (34, -32), (-34, -32)], darker(colour, 0.6))
        canvas.ellipse(0, -30, 64, 8.0, darker(colour, 0.15))
