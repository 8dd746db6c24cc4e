"""The pages of the sandboxes: one layout, one small stylesheet, titles that nobody takes for the real thing.

Templates live beside the sandbox that shows them and are named from this package's folder, as in
`render("hubspot/consent.html", ...)`. Everything is escaped.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, /, **context: object) -> str:
    """The HTML of a page.

    :param template: the template's path below this package.
    :param context: what the template shows; a name it uses and does not get is an error.
    """
    return _TEMPLATES.get_template(template).render(**context)
