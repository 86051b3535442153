"""The configuration of the manual, which ``scripts/docs.sh`` builds."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402  (the folder of this file is in the path only now)

from hpcpgd.version import __version__  # noqa: E402

project = "hpcpgd"
author = "the developers of hpcpgd"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The second is part of another page.
exclude_patterns = ["built", "reference/generated/benchmark-tables.md"]
html_theme = "furo"
html_title = f"hpcpgd {__version__}"
html_static_path = ["static"]
copybutton_exclude = ".linenos, .gp, .go"

generate.write_all(HERE / "reference" / "generated")
