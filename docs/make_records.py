"""Writes the schema of records and events into docs/records.md, between its two marks.

    python docs/make_records.py

Types, defaults and meanings are those of the code: `store/record.py`, `store/weights.py`, `running/evaluation.py` and
`running/events.py`.
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mrsr_bench.running import events
from mrsr_bench.running.evaluation import KeptVolumes
from mrsr_bench.store.record import (
    Checksums,
    CrossScores,
    DoneRecord,
    Fit,
    ProtocolMark,
    RecipeMark,
    Record,
    Resolved,
    Tiles,
    UndoneRecord,
)
from mrsr_bench.store.weights import WeightsMark
from mrsr_bench.system.environment import Environment
from mrsr_bench.system.files import write_text

PAGE = Path(__file__).with_name("records.md")
BEGIN, END = "<!-- schema: made by docs/make_records.py -->", "<!-- end of the schema -->"
MODELS: tuple[type[BaseModel], ...] = (
    Record, DoneRecord, UndoneRecord, ProtocolMark, Resolved, RecipeMark, Tiles, Fit, Environment, Checksums,
    CrossScores,     WeightsMark, KeptVolumes, *events.KINDS,
)  # fmt: skip


def schema() -> str:
    """Every model: a heading, its description and a table of its fields; inherited fields are in their base's."""
    return "\n\n".join(_section(model) for model in MODELS) + "\n"


def _section(model: type[BaseModel]) -> str:
    inherited = {name for base in model.__bases__ if issubclass(base, BaseModel) for name in base.model_fields}
    base = next((base for base in model.__bases__ if base in MODELS), None)
    description = " ".join((model.__doc__ or "").split())
    parts = [f"#### {model.__name__}", description + (f" Besides the fields of `{base.__name__}`:" if base else "")]
    rows = [
        f"| `{name}` | {_type(field.annotation)} | {' '.join((field.description or '').split())} |"
        for name, field in model.model_fields.items()
        if name not in inherited
    ]
    if rows:
        parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _type(annotation: Any) -> str:
    """A type as text, e.g. 'text → number', 'Fit or none'."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in inner)
    if origin is tuple:
        return f"({', '.join(_type(part) for part in inner)})"
    if origin is dict:
        return f"{_type(inner[0])} → {_type(inner[1])}"
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        NoneType: "none",
        Any: "anything",
    }
    return plain.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")


def with_schema(page: str) -> str:
    """The page with a new schema."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{schema()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    write_text(PAGE, with_schema(PAGE.read_text(encoding="utf-8")))
