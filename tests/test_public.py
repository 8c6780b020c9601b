"""The public face: what `from mrsr_bench import …` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from plugins import NEAREST, write

import mrsr_bench
from mrsr_bench import registry

FUNCTIONS = [name for name in mrsr_bench.__all__ if isinstance(getattr(mrsr_bench, name), FunctionType)]
HEAVY = {"torch", "numpy", "pandas", "pydantic"}


def loaded_after(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter holds after `code`."""
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return HEAVY & set(done.stdout.split())


def test_the_public_names_are_sorted_and_unique() -> None:
    assert mrsr_bench.__all__ == sorted(set(mrsr_bench.__all__))


def test_what_everyone_types_is_among_them() -> None:
    assert {"Method", "MethodOptions", "Recipe", "Scan", "Task", "TorchMethod", "run", "table"} <= {*mrsr_bench.__all__}
    assert {"Array", "Batch", "Run", "TrainingSet"} <= {*mrsr_bench.__all__}, "the types that a method's `fit` takes"
    assert FUNCTIONS == ["figure", "intensity_scale", "run", "table"]


@pytest.mark.parametrize("name", mrsr_bench.__all__)
def test_every_public_name_is_there_listed_and_documented(name: str) -> None:
    assert name in dir(mrsr_bench)
    value: Any = getattr(mrsr_bench, name)
    assert inspect.getdoc(value)
    if isinstance(value, type) and value.__module__.startswith("mrsr_bench"):
        assert value.__name__ == name
        assert value.__doc__, "a docstring of its own"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_typed_parameters_and_a_typed_return(name: str) -> None:
    signature = inspect.signature(getattr(mrsr_bench, name))
    annotations = [parameter.annotation for parameter in signature.parameters.values()]
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if name == "figure":  # every figure has options of its own
        assert signature.parameters["options"].kind == inspect.Parameter.VAR_KEYWORD
        annotations, kinds = annotations[:-1], kinds - {inspect.Parameter.VAR_KEYWORD}
    for annotation in [*annotations, signature.return_annotation]:
        assert annotation is not inspect.Signature.empty
        assert "Any" not in str(annotation)
    assert kinds.isdisjoint({inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL})


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, Any] = {}
    exec("from mrsr_bench import *", names)
    assert {*mrsr_bench.__all__} <= {*names}


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mrsr_bench' has no attribute 'Methods'"):
        mrsr_bench.Methods  # noqa: B018


def test_importing_the_package_brings_no_library_and_a_method_brings_no_torch() -> None:
    assert loaded_after("import mrsr_bench") == set()
    assert loaded_after("from mrsr_bench import BenchError, UsageError") == set()
    code = "from mrsr_bench import Method, MethodOptions, Recipe, Scan, Task, TorchMethod"
    assert loaded_after(code) == {"numpy", "pydantic"}


def test_a_method_file_may_import_everything_from_the_package(tmp_path: Path) -> None:
    [file] = write(tmp_path, nearest=NEAREST.replace("from mrsr_bench.method import", "from mrsr_bench import"))
    source = registry.methods([file])["nearest"]
    method = registry.load_method(source)()
    assert type(method).__mro__[1] is mrsr_bench.Method
    scan = mrsr_bench.Scan(np.ones((1, 4, 4), np.float32), (1.0, 1.0, 1.0), "T1")
    assert method.upscale(scan, mrsr_bench.Task((1, 2, 2))).shape == (1, 8, 8)
