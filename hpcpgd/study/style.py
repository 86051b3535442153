"""The style of all figures: colours that colour-blind readers can distinguish, title, caption.

No variable, matplotlibrc, style or font of a user changes a figure.
"""

from __future__ import annotations

import io
import os
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from hpcpgd.environment.extras import library
from hpcpgd.errors import OutputError, UsageError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.study.figure_form import FORMATS

# Okabe and Ito's palette; markers and dashes differ too, for prints without colour.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
# One marker more than colours: the eighth line differs from all others.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--")
SMALLEST_PANEL = 0.6  # inches: in less the labels of ticks overlap
LETTERS, TITLE_LETTERS = 16, 12  # letters of a caption and of a title in an inch
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
    "figure.constrained_layout.w_pad": 0.08,
    "pdf.fonttype": 42,
    "svg.hashsalt": "hpcpgd",  # else the names in the file are random
    "text.parse_math": False,  # names of datasets and machines may hold dollar signs
}
# The canvas of each format, and metadata to leave out: the time, which would make files differ.
CANVASES: dict[str, tuple[str, str, Any]] = {
    "png": ("backend_agg", "FigureCanvasAgg", None),
    "pdf": ("backend_pdf", "FigureCanvasPdf", {"CreationDate": None}),
    "svg": ("backend_svg", "FigureCanvasSVG", {"Date": None}),
}
READ_AT_IMPORT = ("MPLBACKEND", "MATPLOTLIBRC", "FREETYPE_PROPERTIES")


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply matplotlib's defaults and our settings while the body draws and saves.

    Raises
    ------
    OutputError
        If there is no room for temporary files.
    UnavailableError
        If matplotlib is not installed, or cannot be loaded.
    """
    _load()
    import matplotlib

    # Not rcdefaults(), which reads a user's styles.  The backend is for windows only.
    defaults: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    with matplotlib.rc_context():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
            matplotlib.rcParams.update(defaults)
        matplotlib.rcParams.update(SETTINGS)
        yield


def _load() -> None:
    """Import the modules of matplotlib that read settings and fonts, without those of a user."""
    with _without_settings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for the developers of matplotlib
        for module, _, _ in CANVASES.values():
            library(f"matplotlib.backends.{module}", "report")


@contextmanager
def _without_settings() -> Iterator[None]:
    """Hide a user's settings of matplotlib and FreeType while the body imports them."""
    before = dict(os.environ)
    try:
        room = tempfile.TemporaryDirectory(prefix="hpcpgd-")
    except OSError as error:
        raise OutputError(
            f"no temporary folder can be made: {error.strerror}: set TMPDIR to a folder "
            "that can be written"
        ) from None
    with room as folder, chdir(folder):  # a matplotlibrc in this folder comes before all others
        for name in READ_AT_IMPORT:
            os.environ.pop(name, None)
        os.environ |= {"MPLCONFIGDIR": folder, "MPL_IGNORE_SYSTEM_FONTS": "1"}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def entitle(figure: Any, text: str) -> None:
    """Put a title over a figure, in as many lines as it needs."""
    width = int(TITLE_LETTERS * figure.get_figwidth())
    lines = [textwrap.fill(line, width) for line in text.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10, x=0.01, ha="left")


def logarithmic(axes: Any, coarse: bool = False) -> None:
    """Make the vertical axis logarithmic, with plain numbers at its ticks.

    It is called after all is drawn.  An axis of less than a decade has other ticks than powers
    of ten, which would be too few; with ``coarse`` it has ticks at 1, 2 and 5 times these.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    wide = coarse or high > 10 * low
    if not wide:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)) if wide else NullLocator())
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(StrMethodFormatter("{x:g}"))


def save(
    figure: Any, folder: Path, name: str, caption: str, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write a figure with its caption below, a file for each format; return the paths.

    Raises
    ------
    UsageError
        If its size leaves less than ``SMALLEST_PANEL`` beside its texts.
    """
    width = int(LETTERS * figure.get_figwidth())
    # An option such as --size is not to be cut at its hyphen.
    wrap = textwrap.TextWrapper(width, break_on_hyphens=False).fill
    lines = [wrap(line) for line in caption.splitlines()]
    figure.supxlabel("\n".join(lines), fontsize=7, color="#444444", x=0.01, ha="left")
    paths = []
    for kind in formats:
        module, canvas, about = CANVASES[kind]
        backend = import_module(f"matplotlib.backends.{module}")
        image = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "constrained_layout not applied")
            try:
                getattr(backend, canvas)(figure).print_figure(image, format=kind, metadata=about)
                sides = [side for axes in figure.axes for side in axes.get_window_extent().size]
            except UserWarning:  # the texts alone need more room
                sides = [0.0]
        if min(sides) < SMALLEST_PANEL * figure.dpi:
            raise UsageError(
                f"--size: no room in {name} for panels of {SMALLEST_PANEL} inches (it has "
                f"{len(figure.axes)}) beside its texts: give a larger size"
            )
        paths.append(folder / f"{name}.{kind}")
        write_atomically(paths[-1], image.getbuffer())
    return paths
