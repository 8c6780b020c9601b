"""What the blocks of a protocol file have in common: their base, and the types of names, seeds and scales."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# These become names of folders.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\+?$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def scale_name(factors: tuple[int, int, int]) -> str:
    """'2', or '4x1x1' where the factors are not those of in-plane upscaling."""
    depth, rows, columns = factors
    return f"{rows}" if depth == 1 and rows == columns else f"{depth}x{rows}x{columns}"


class Block(BaseModel):
    """Base of a protocol's blocks: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, none of which may appear twice: each makes cells of its own."""
    for number, value in enumerate(values):
        if value in values[:number]:
            name = " and ".join(sorted(value)) if isinstance(value, frozenset) else value
            raise ValueError(f"{name} appears twice")
    return values
