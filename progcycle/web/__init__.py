"""Models for a browser: a static page that computes in the browser, and the same page with a server behind it."""

from progcycle.web.demo import Demo, serve
from progcycle.web.page import Page, write_page

__all__ = ["Demo", "Page", "serve", "write_page"]
