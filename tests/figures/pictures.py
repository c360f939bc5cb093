"""The pictures of the page, as SVG that is the same on every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.figures.tables import Part

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "rollback",  # ids of shapes: fixed, not random
    "svg.fonttype": "none",  # text stays text: smaller, searchable, independent of fonts here
    "font.size": 9.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}

Shape = Callable[[Axes], None]


def healthy(axes: Axes) -> None:
    """Share that is back, by minutes."""
    axes.set(xlabel="minutes since the return began", ylabel="share that is back at 100 %", ylim=(0, 1.02))


def bursts(axes: Axes) -> None:
    """Share that passes, by soak."""
    axes.set_xscale("symlog", linthresh=10)
    soaks = (0, 10, 30, 60, 240, 720, 1440)
    axes.minorticks_off()
    axes.set_xticks(soaks, ["none", "10 min", "30 min", "1 h", "4 h", "12 h", "1 d"])
    axes.set(xlabel="soak of the first gate", ylabel="share that passes", ylim=(-0.02, 1.02))


def beside(axes: Axes) -> None:
    """Share that is brought back, by true rate."""
    axes.axvline(0.02, color="grey", linewidth=0.8, linestyle=":")
    axes.text(0.0205, 0.97, "p0", color="grey", fontsize=8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.set(xlabel="true rate of failures", ylabel="share that is brought back", ylim=(-0.02, 1.02))


def draw(part: Part, file: Path, shape: Shape) -> None:
    """Draws the part's curves; `shape` names the axes and adds what belongs to them."""
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever somebody has in a matplotlibrc
        mpl.rcParams.update(STYLE)
        figure, axes = plt.subplots(figsize=(8.6, 3.8), layout="constrained")
        for place, (name, points) in enumerate(part.curves.items()):
            ours = name.startswith("this program")
            color = "black" if ours else f"C{place % 10}"
            style = "--" if ours and "100 %" in name else "-"
            axes.plot([x for x, _ in points], [y for _, y in points], label=name, color=color, linestyle=style)
        shape(axes)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": part.title})
        plt.close(figure)
