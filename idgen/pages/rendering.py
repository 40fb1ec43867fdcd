"""How a template becomes a page: text escaped, pictures inside it, nothing from outside."""

import base64
import io
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from idgen.errors import printable

_QUALITY = 86


def render_page(template: str, **content: Any) -> bytes:
    """Fills in a template of `idgen/pages/templates`.

    Templates extend `base.html`, which takes `title` and `lead`. The filter `picture(side,
    caption)` makes an image element.

    Args:
        template: Its file name.
        **content: What it shows. In text, characters that cannot be shown are replaced, and it is
            escaped; a `markupsafe.Markup` is taken as it is.

    Returns:
        The page, UTF-8: no address of anything outside it.

    Raises:
        jinja2.UndefinedError: If the template asks for something that was not given.
    """
    return _environment().get_template(template).render(**content).encode()


def picture(image: Image.Image, side: int, caption: str) -> Markup:
    """An image element that carries its picture with it.

    Args:
        image: The picture.
        side: Pixels that its longer side is reduced to; smaller ones are left as they are.
        caption: What it shows, for those who cannot see it and under the mouse.
    """
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    element = (
        '<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        'alt="{said}" title="{said}">'
    )
    return Markup(element).format(
        data=data, width=small.width, height=small.height, said=printable(caption)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("idgen.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = _shown
    environment.filters["picture"] = picture
    return environment


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(str(value))
