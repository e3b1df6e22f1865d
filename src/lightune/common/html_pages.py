"""HTML pages: templates lie beside the code that fills them and extend ``common/base.html``; values are escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

PAGES = Environment(loader=PackageLoader("lightune", "."), autoescape=True, trim_blocks=True, undefined=StrictUndefined)


def render(template: str, **values: Any) -> Markup:
    """Fill a template, named by its path in the package, such as ``runs/report/page.html``."""
    return Markup(PAGES.get_template(template).render(values))
