"""Equations as MathML, which browsers draw by themselves: no script, and nothing from the network."""

import re

from docutils import nodes
from latex2mathml.converter import convert

BAR = r"<mo[^>]*>(&#x02016;|&#x02225;|&#x0007C;)</mo>"


def mathml(node, display):
    """Return an equation as MathML. Bars of norms stay as high as a letter, and their indices beside their feet."""
    made = convert(node.astext(), display=display)
    made = re.sub(rf"<(msub|msup|msubsup)>{BAR}", r"<mo>\2</mo><\1><mrow></mrow>", made)
    return re.sub(BAR, r'<mo stretchy="false">\1</mo>', made)


def inline(self, node):
    """$x$ in a sentence."""
    self.body.append(f'<span class="math">{mathml(node, "inline")}</span>')
    raise nodes.SkipNode


def block(self, node):
    """An equation on a line of its own."""
    self.body.append(f'<div class="math">{mathml(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    """Registers the renderer, under the name that `conf.py` has."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
