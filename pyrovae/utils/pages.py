"""Templates of HTML pages that open without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyrovae.utils import palette

if TYPE_CHECKING:
    import jinja2

__all__ = ["template"]


def template(package: str, name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """A template in the folder of a package; it can include `page.css.j2`, the common style.

    Args:
        package: the dotted path of the package.
        name: the name of the file.
        **filters: functions that the template uses as filters.
    """
    import jinja2

    folders = [jinja2.PackageLoader(own, "") for own in (package, "pyrovae.utils")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    environment.globals["palette"] = palette
    return environment.get_template(name)
