"""The picture: a panel of bars for each experiment, on white, in colours that everybody can tell apart.

matplotlib is asked for before anything runs, by `require`, and used only here.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cenote.cli.bench.report import Report
from cenote.cli.bench.results import Result, Row, plural
from cenote.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR, WORST, INK, FAINT = "#0072B2", "#D55E00", "#222222", "#666666"
"""Blue and vermilion of Okabe and Ito's palette, and two greys for text."""
ACROSS = 2
FEWEST_ROWS = 5
WIDTH, PANEL_HEIGHT, HEAD = 12.0, 2.9, 0.5
"""Inches."""
WORDS = 56
"""Letters in a line of a panel."""
_ROOM = 1.4  # of the longest bar: its figure stands behind it
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def require() -> None:
    """See whether a picture can be drawn.

    Raises:
        ConfigError: matplotlib is not installed; the extra is named.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - only for a picture
    except ImportError as error:
        raise ConfigError(
            f"--plot needs matplotlib ({error}); install it with: pip install 'cenote[bench]'"
        ) from None


def draw(report: Report, path: Path) -> None:
    """Draw all experiments that were run, and save them as the file's suffix says."""
    from matplotlib import rc_context  # noqa: PLC0415 - only for a picture
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    shown = [result for result in report.results if result.rows]
    down = max(-(-len(shown) // ACROSS), 1)
    # The same figures give the same file: no date in it, and names made from a fixed salt.
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "cenote",
        "font.size": 10,
        "text.parse_math": False,
    }
    with rc_context(settings):
        height = down * PANEL_HEIGHT + HEAD
        figure = Figure(figsize=(WIDTH, height), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"cenote bench: {report.headline}", fontsize=11, color=INK)
        axes = figure.subplots(down, ACROSS, squeeze=False).flatten()
        for axis, result in zip(axes, shown, strict=False):
            _panel(axis, result)
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=metadata)


def _panel(axis: Axes, result: Result) -> None:
    main = result.columns[0]
    rows = [row for row in result.rows if not row.problem]
    values = [row.values[main.key] for row in rows]
    most = max(values, default=0) or 1
    colors = [WORST if value == most else BAR for value in values]
    axis.barh(range(len(rows)), values, color=colors, height=0.68)
    axis.set_yticks(range(len(rows)), [row.label for row in rows])
    axis.set_ylim(
        max(len(rows), FEWEST_ROWS) - 0.5, -0.5
    )  # the first on top, and bars of one height everywhere
    axis.set_xlim(0, most * _ROOM)
    for place, row in enumerate(rows):
        axis.annotate(
            _figure(row, main.key),
            (row.values[main.key], place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axis.set_xticks([])
    axis.tick_params(length=0, colors=INK)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "left")
        spine.set_color(FAINT)
    title = textwrap.fill(f"{result.name}: {result.title}", WORDS)
    axis.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    if main.key == "ns_per_op":  # the others' bars say it all
        words = "\n".join(textwrap.fill(line, WORDS) for line in result.shape)
        axis.set_xlabel(words, loc="left", fontsize=9, color=FAINT)


def _figure(row: Row, key: str) -> str:
    """Write the figure behind a bar."""
    value = row.values[key]
    if key == "ns_per_op":
        factor, unit = next(one for one in _UNITS if value >= one[0] or one[0] == 1.0)
        return f"{value / factor:.3g} {unit}"
    if key == "seconds":
        return f"{value:.1f} s, {plural(row.values['connections'], 'dial')}"
    return f"{plural(value, 'dial')} refused"
