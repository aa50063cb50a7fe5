"""Equations as MathML, which browsers draw by themselves: no script, and nothing from the network."""

from docutils import nodes
from latex2mathml.converter import convert


def inline(self, node):
    """$x$ in a sentence."""
    self.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise nodes.SkipNode


def block(self, node):
    """An equation on a line of its own."""
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    """Registers the renderer, under the name that `conf.py` has."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
