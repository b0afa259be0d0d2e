"""How many points fit into memory at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod

import numpy as np

from .methods import Method
from .question import Question

MOST = 16
"""More points at once gain nothing on CPU: occlusion of ResNet50 takes 4 % longer with 32, of VGG16 as long."""


def points_per_run(question: Question, feeds: Mapping[str, np.ndarray], method: Method) -> int:
    """As many points as half of the free memory holds, if every activation and its cotangent lived at once."""
    extents = [pair for name, t in question.graph.inputs.items() if name in feeds for pair in zip(t.shape or (), feeds[name].shape)]
    known = {d: n for d, n in extents if isinstance(d, str) and d != question.batch}
    total = sum(size * prod(int(known.get(d, 1)) for d in symbols) for symbols, size in question.graph.sizes.items())
    per_point = max(1, 3 * total) * method.points_inside
    return int(np.clip(free_memory() // 2 // per_point, 1, MOST))


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        except (AttributeError, ValueError, OSError):
            return 4 << 30
