"""The tables that can be made: methods × inputs, classes, models, or values of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..explanation import Explanation
from .case import Case
from .specs import Row, labelled, rows_of, shown
from .table import Cell, Head, Table


def by_inputs(case: Case, methods: Any, visuals: Sequence[Any] | None = None, progress: bool = False) -> Table:
    """A row for each method or technique, a column for each input."""
    chosen, rows = rows_of(methods, visuals)
    found = {k: v[0] for k, v in case.explain(chosen, [case.target], progress).items()}
    first = next(iter(found.values()))
    cells = [[_cell(case, found[row.method], k, row) for k in range(len(first.target))] for row in rows]
    scores = case.scored(first)
    return Table(_heads(rows), [_input(case, first, k, cells[0][k], scores) for k in range(len(first.target))], cells)


def by_classes(case: Case, methods: Any, targets: Sequence[Any], visuals: Sequence[Any] | None = None, progress: bool = False) -> Table:
    """A row for each method, a column for each class of one input."""
    case.require_one("classes")
    chosen, rows = rows_of(methods, visuals)
    found = case.explain(chosen, list(targets), progress)
    explanations = next(iter(found.values()))
    columns = [Head(case.standing(e, 0, case.scored(e))) for e in explanations]
    cells = [[_cell(case, e, 0, row) for e in found[row.method]] for row in rows]
    return Table(_heads(rows), columns, cells, Head(case.called(0), case.predicted(explanations[0], 0), cells[0][0].of_input()))


def by_models(cases: Sequence[Case], methods: Any, visuals: Sequence[Any] | None = None, progress: bool = False) -> Table:
    """A row for each method, a column for each model, all asked about one input."""
    chosen, rows = rows_of(methods, visuals)
    columns, cells = [], []
    for case in cases:
        case.require_one("models")
    for case in cases:
        found = {k: v[0] for k, v in case.explain(chosen, [case.target], progress).items()}
        first = next(iter(found.values()))
        cells.append([_cell(case, found[row.method], 0, row) for row in rows])
        columns.append(_input(case, first, 0, cells[-1][0], case.scored(first), case.name))
    return Table(_heads(rows), columns, list(zip(*cells)))


def by_values(case: Case, varied: Sequence[tuple[Any, str, Sequence[Any]]], progress: bool = False) -> Table:
    """A row for each method with a parameter that varies, a column for each of its values, for one input."""
    case.require_one("values")
    chosen: dict[str, Any] = {}
    keys, rows = [], []
    for given, name, values in varied:
        method = dict(given) if isinstance(given, dict) else {"method": given}
        rows.append(Head(labelled(method["method"], {k: v for k, v in method.items() if k != "method"})))
        titles = [f"{name} = {shown(v)}" for v in values]
        keys.append([(f"{len(rows)}: {title}", title) for title in titles])
        chosen |= {key: method | {name: v} for (key, _), v in zip(keys[-1], values)}
    found = {k: v[0] for k, v in case.explain(chosen, [case.target], progress).items()}
    first = next(iter(found.values()))
    widest = max(map(len, keys))
    cells = [[Cell(found[key], 0, case.drawn(0), title) for key, title in row] for row in keys]
    head = _input(case, first, 0, cells[0][0], case.scored(first))
    return Table(rows, [Head("")] * widest, [[*row, *[None] * (widest - len(row))] for row in cells], head)


def _cell(case: Case, e: Explanation, sample: int, row: Row) -> Cell:
    return Cell(e, sample, {**case.drawn(sample), **({} if row.visual is None else {"visual": row.visual})})


def _heads(rows: Sequence[Row]) -> list[Head]:
    return [Head(row.label) for row in rows]


def _input(case: Case, e: Explanation, sample: int, cell: Cell, scores: Any, name: str = "") -> Head:
    """An input with what the model answers."""
    return Head(name or case.called(sample), case.answer(e, sample, scores), cell.of_input())
