"""Pages: static, self-contained HTML made from templates in which every text from the data is escaped."""

from pathlib import Path
from typing import Any

from mrsflow import __version__

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template; a name that the context lacks is an error, text is escaped, NaN in data is refused."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(template).render({"version": __version__, **context})
