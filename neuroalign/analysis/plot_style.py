"""Colours, axes and labels that all figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
LINE_STYLES: Final = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
LEGEND_SIZE: Final = 8


def label_colors(labels: Sequence[str]) -> dict[str, Any]:
    """Give every label a colour that colour-blind readers can tell apart.

    Parameters
    ----------
    labels : sequence of str
        In the order in which colours are dealt; more than ten get evenly spaced hues of one map.
    """
    import seaborn

    count = len(labels)
    palette = (
        seaborn.color_palette("colorblind", count)
        if count <= 10
        else seaborn.color_palette("viridis", count)
    )
    return dict(zip(labels, palette, strict=True))


def single_axes(ax: Axes | None, *, size: tuple[float, float] = (5.0, 4.0)) -> Axes:
    """Return the given axes, or those of a new figure of `size` inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, made = plt.subplots(figsize=size, layout="constrained")
    return made


def axes_grid(
    axes: Any,
    rows: int,
    columns: int,
    *,
    size: tuple[float, float] = (2.6, 2.2),
    sharex: bool = False,
    sharey: bool | str = False,
) -> npt.NDArray[Any]:
    """Return the given axes as a grid, or those of a new figure with `size` inches per panel.

    Raises
    ------
    ParameterError
        If axes are given, but not as many as there are panels.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, made = plt.subplots(
            rows,
            columns,
            figsize=(size[0] * columns, size[1] * rows),
            squeeze=False,
            sharex=sharex,
            sharey=sharey,  # type: ignore[arg-type]
            layout="constrained",
        )
        return np.asarray(made)
    given = np.asarray(axes, dtype=object).ravel()
    if given.size != rows * columns:
        raise ParameterError(
            f"expected {rows * columns} axes ({rows} rows of {columns}), got {given.size}; "
            "pass none to have a figure made."
        )
    return given.reshape(rows, columns)


def axes_row(axes: Any, count: int, **arguments: Any) -> npt.NDArray[Any]:
    """Return `count` axes side by side; see `axes_grid`."""
    return np.asarray(axes_grid(axes, 1, count, **arguments)[0])


def legend_outside(ax: Axes, *, title: str | None = None, handles: Any = None) -> None:
    """Put the legend to the right of the axes, where it covers no data."""
    arguments: dict[str, Any] = {} if handles is None else {"handles": handles}
    ax.legend(
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize=LEGEND_SIZE,
        title_fontsize=LEGEND_SIZE,
        **arguments,
    )


def line_handle(color: Any, label: str, *, style: Any = "-") -> Any:
    """Make the legend entry of a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle=style, label=label)


def heading_handle(text: str) -> Any:
    """Make a legend entry that is only text, to head what follows."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", label=text)


def point_handle(color: Any, label: str, *, marker: str = "o") -> Any:
    """Make the legend entry of points."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, linestyle="", marker=marker, markersize=5, label=label)


def tidy(ax: Axes) -> None:
    """Drop the frame's upper and right lines, and keep text at a size that prints."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)
    ax.title.set_fontsize(10)
