"""Configuration of Sphinx; ``docs/site/build.py`` gathers the pages and calls it."""

import progcycle

project = "progcycle"
author = "The progcycle authors"
version = release = progcycle.__version__
copyright = "the progcycle authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 6  # as GitHub gives them
highlight_language = "none"  # of indented blocks: commands and what they print
html_theme = "furo"
html_title = f"progcycle {version}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True

# Only public names are in the reference; what stands in their signatures beside them leads nowhere.
nitpicky = False
