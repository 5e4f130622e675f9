"""Sphinx: MyST pages in four kinds (Diátaxis), reference pages written from the code itself."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "airflow-provider-lclstream"
author = "The airflow-provider-lclstream authors"
project_copyright = author
release = version = installed_version("airflow-provider-lclstream")

extensions = ["myst_parser", "sphinxcontrib.mermaid", "generated_reference"]
exclude_patterns = ["_build", "_ext", "examples"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Plain ```mermaid fences show on GitHub too.
myst_fence_as_directive = ["mermaid"]
myst_links_external_new_tab = False

html_theme = "pydata_sphinx_theme"
html_title = "LCLStream"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_depth": 3,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
}
