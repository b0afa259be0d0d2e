"""HTML from Python: text is escaped, unless it is HTML already."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image


class Html(str):
    """Text that is HTML."""


def tag(name: str, /, *inside: Any, **attributes: Any) -> Html:
    """An element; attributes that are None or False are left out, `class_` is "class", `data_x` is "data-x"."""
    said = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None and value is not False]
    opening = " ".join([name, *(key if value is True else f'{key}="{escape(str(value))}"' for key, value in said)])
    return Html(f"<{opening}>" if name in ("img", "input", "meta") else f"<{opening}>{joined(*inside)}</{name}>")


def joined(*parts: Any) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts))


def table(head: list[Any], rows: list[list[Any]], caption: str) -> Html:
    """A table that scrolls by itself where it is too wide; the first cell of a row is its head."""
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    whole = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *body))
    return tag("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def png(image: Image.Image) -> str:
    """A picture as a data URI."""
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return encoded(file.getvalue())


def encoded(data: bytes) -> str:
    """A PNG file's bytes as a data URI."""
    return f"data:image/png;base64,{b64encode(data).decode()}"
