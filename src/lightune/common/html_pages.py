"""HTML pages: templates lie beside the code that fills them and extend ``common/base.html``; values are escaped."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lightune", "."), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )


def render(template: str, **values: Any) -> Markup:
    """Fill a template, named by its path in the package, such as ``runs/report/page.html``."""
    return Markup(_environment().get_template(template).render(values))
