"""Pages from templates: everything that comes from data is escaped, and a page loads and runs nothing but itself."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import cryofind

_HERE = Path(__file__).resolve().parent
ASSETS, TEMPLATES = _HERE / "assets", _HERE / "templates"


def render_page(template: str, **context: Any) -> str:
    """Return a page of HTML with its style sheet and script within.

    Parameters
    ----------
    template
        File in `templates`, which extends `base.html.j2` (blocks `title`, `content` and `data`).
    context
        What the template names; all of it must be there. Strings are escaped; JSON for scripts goes through the
        filter `tojson`, which escapes what could end the script.

    Raises
    ------
    jinja2.UndefinedError
        If the template names something that is not in the context.
    """
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    script = _read_assets("*.js")
    environment.globals.update(
        version=cryofind.__version__,
        stylesheet=_read_assets("*.css"),
        script=script,
        script_hash=_hash_of_policy(script),
    )
    environment.filters.update(number=format_number, percent=format_percent, share=format_share)
    return environment


def _read_assets(pattern: str) -> Markup:
    """Return our own style sheets or scripts, which are not escaped."""
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in sorted(ASSETS.glob(pattern))))


def _hash_of_policy(script: str) -> Markup:
    """Return what names a script in a content security policy: the browser runs this one and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return Markup("sha256-" + base64.b64encode(digest).decode())  # "+" would be escaped


def format_number(value: float | None, decimals: int = 3) -> str:
    """Return a number with so many decimals at most, without trailing zeros; a dash for None."""
    if value is None:
        return "-"
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_percent(share: float | None) -> str:
    """Return a share, 0 to 1, as whole percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.0f} %"


def format_share(value: float | None) -> str:
    """Return a ratio with 4 decimals, all shown, so that columns line up; a dash for None."""
    return "-" if value is None else f"{value:.4f}"
