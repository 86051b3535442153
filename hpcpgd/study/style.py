"""One look for all figures: colours that colour-blind readers tell apart, units, a caption."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

from hpcpgd.errors import OutputError, UnavailableError
from hpcpgd.results.atomic import write_atomically

# Okabe and Ito's palette; markers and dashes differ too, for prints without colour.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--")
LETTERS = 16  # of a caption that fit into an inch
SETTINGS: Any = {
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
}


def pyplot() -> Any:
    """Return matplotlib's pyplot without a window, in our style.

    Raises
    ------
    UnavailableError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UnavailableError(
            "matplotlib is not installed: pip install 'hpcpgd[report]'"
        ) from None
    matplotlib.use("Agg")
    matplotlib.rcParams.update(SETTINGS)
    from matplotlib import pyplot as plt

    return plt


def make_folder(folder: Path) -> None:
    """Make the folder of figures.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror}") from None


def logarithmic(axes: Any) -> None:
    """Make the vertical axis logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(StrMethodFormatter("{x:g}"))


def save(figure: Any, folder: Path, name: str, caption: str) -> list[Path]:
    """Write a figure as PNG and PDF with its caption below; return the paths."""
    width = int(LETTERS * figure.get_figwidth())
    lines = [textwrap.fill(line, width) for line in caption.splitlines()]
    figure.supxlabel("\n".join(lines), fontsize=7, color="#444444")
    paths = [folder / f"{name}.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        image = io.BytesIO()
        about = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(image, format=path.suffix[1:], metadata=about)
        write_atomically(path, image.getbuffer())
    pyplot().close(figure)
    return paths
