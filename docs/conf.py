"""The configuration of the manual, which ``scripts/docs.sh`` builds."""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from hpcpgd.version import __version__

project = "hpcpgd"
author = "the developers of hpcpgd"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
exclude_patterns = ["built"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"hpcpgd {__version__}"
html_show_copyright = False  # LICENSE has it
html_static_path = ["static"]
copybutton_exclude = ".linenos, .gp, .go"


def write_formula(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers draw without a script from the network."""
    block = isinstance(node, nodes.math_block)
    mathml = convert(node.astext(), display="block" if block else "inline")
    if "\\" in mathml:
        raise ValueError(f"latex2mathml does not know a command of {node.astext()!r}")
    translator.body.append(f"<p>{mathml}</p>" if block else mathml)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register what writes formulas; Sphinx calls this."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
