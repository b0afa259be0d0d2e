"""What a notebook shows of an explanation: its facts, and a picture of the first samples."""

from __future__ import annotations

import json
from base64 import b64encode
from html import escape
from itertools import islice

from ..errors import InputError
from ..explanation import Explanation, jsonable
from .drawing import count_of
from .grid import grid

SAMPLES = 4
TENSORS = 3
"""So many samples and attributed tensors at most are drawn."""
DPI = 64


def page(explanation: Explanation) -> str:
    """An HTML fragment that needs nothing from elsewhere."""
    facts = [f"<b>{escape(explanation.method)}</b>"]
    facts += [f"{escape(name)} = {escape(json.dumps(value, default=jsonable))}" for name, value in explanation.params.items() if value is not None]
    if explanation.delta is not None:
        facts.append(f"adds up to within {float(abs(explanation.delta).max(initial=0)):.2g}")
    parts = [", ".join(facts)]
    for name in islice(explanation.attributions, TENSORS):
        count = count_of(explanation, name)
        more = f", the first {SAMPLES} samples" if count > SAMPLES else ""
        parts += [f"<code>{escape(name)}</code> {list(explanation.attributions[name].shape)}{more}", _picture(explanation, name, min(count, SAMPLES))]
    if len(explanation.attributions) > TENSORS:
        parts.append(f"and {len(explanation.attributions) - TENSORS} more tensors")
    return "".join(f"<div>{part}</div>" for part in parts)


def _picture(explanation: Explanation, tensor: str, samples: int) -> str:
    """A picture in the page, or why there is none."""
    try:
        figure = grid(explanation, tensor=tensor, samples=range(samples))
    except InputError as error:
        return f"<i>{escape(str(error))}</i>"
    return f'<img alt="attribution of {escape(tensor)}" style="max-width:100%" src="data:image/png;base64,{b64encode(figure.png(DPI)).decode()}">'
