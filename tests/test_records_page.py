"""docs/records.md: the schema that it prints is the code's."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from conftest import docs_script
from pydantic import BaseModel

from mrsr_bench.running import events
from mrsr_bench.store.record import FORMAT, DoneRecord, UndoneRecord

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "records.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return docs_script("make_records")


def test_the_page_prints_the_schema_of_the_code(script: ModuleType) -> None:
    assert script.with_schema(PAGE) == PAGE, "make docs"
    assert f"| `format` | `{FORMAT}` |" in PAGE


def test_every_part_of_a_record_and_every_event_is_on_the_page_and_says_what_it_is(script: ModuleType) -> None:
    parts = _parts(DoneRecord) | {UndoneRecord, *events.KINDS}
    assert parts <= {*script.MODELS}
    assert all(model.__doc__ for model in script.MODELS)


def _parts(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The models that a model's fields hold, itself among them."""
    models = {model}
    for field in model.model_fields.values():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                models |= _parts(inner)
    return models
