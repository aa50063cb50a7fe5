"""How Sphinx makes the pages: `make docs`. Nothing comes from the network, neither to build them nor to read them."""

import logging
import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightning.pytorch
from nbclient import NotebookClient
from sphinx.util.nodes import make_refnode

import lightning_al

# What examples print is shown, and not what Lightning says beside it.
logging.getLogger(lightning.pytorch.__name__).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"lightning\.pytorch")

project = "lightning_al"
author = "The lightning_al contributors"
copyright = author
release = version = lightning_al.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "_ext.mathml",
]
exclude_patterns = ["_build", "_ext", "examples", "gallery/*.ipynb", "gallery/*.py", "gallery/*.zip", "gallery/*.md5"]
suppress_warnings = ["config.cache"]

# Markdown.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

# The tutorial is kept without outputs and run here, as the examples are: what a page shows is what was run. A kernel
# takes its time where the machine is busy.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = -1
nb_merge_streams = True
NotebookClient.startup_timeout.default_value = 600

# Docstrings. Lightning's own, of methods that are overridden without one, are not repeated.
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

# Examples that are run, and shown with what they print and draw.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib",),
    "thumbnail_size": (400, 250),
    "matplotlib_animations": False,
}

html_theme = "furo"
html_title = "lightning_al"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b2bbf", "color-brand-content": "#5b2bbf"},
    "dark_css_variables": {"color-brand-primary": "#b79bff", "color-brand-content": "#b79bff"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def is_lightnings(app, what, name, obj, skip, options):
    """Leave out methods of Lightning's that a mixin wraps: their docstrings are Lightning's."""
    return True if str(getattr(obj, "__module__", "")).startswith("lightning.") else None


def find_by_last_name(app, env, node, contnode):
    """Find `lightning_al.SAAL`, or `SAAL` alone, where the one public thing of that name is described."""
    if node.get("refdomain") != "py":
        return None
    name = "." + node["reftarget"].rsplit(".", 1)[-1]
    known = [
        (full, entry) for full, entry in env.domains["py"].objects.items() if full.endswith(name) and not entry.aliased
    ]
    if len(known) != 1:
        return None
    [(full, entry)] = known
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, full)


def setup(app):
    """A table of commas is text to Pygments."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-skip-member", is_lightnings)
    app.connect("missing-reference", find_by_last_name)
