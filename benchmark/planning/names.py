"""The names in a protocol are looked up: data set, degradations, metrics, labels. An unknown one is an error."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from .. import registry
from ..degradation import DEGRADATIONS
from ..errors import UsageError, did_you_mean
from ..protocol.data_blocks import DegradationSpec
from ..protocol.loading import KeyPath, Loaded
from ..scoring.protocol_metrics import make_metric, metric_class


def resolve_names(loaded: Loaded) -> None:
    """Check the names of data set, degradations and metrics. Raises UsageError at the key's line."""
    protocol = loaded.protocol
    known = registry.datasets()
    if protocol.data.dataset not in known:
        name = protocol.data.dataset
        raise loaded.error(("data", "dataset"), f"unknown data set '{name}'. {did_you_mean(name, known)}")
    for number, degradation in enumerate(protocol.degradation):
        _check_degradation(loaded, ("degradation", number), degradation)
    _check_cross_tests(loaded)
    for number, pair in enumerate(protocol.report.claims):
        if unknown := [label for label in pair if label not in protocol.methods]:
            message = f"the protocol has no label '{unknown[0]}'. {did_you_mean(unknown[0], protocol.methods)}"
            raise loaded.error(("report", "claims", number), message)
    for label, settings in protocol.scoring.metrics.items():
        key = ("scoring", "metrics", label)
        try:
            make_metric(label, settings, protocol.scoring.unit)
        except UsageError as error:
            raise loaded.error((*key, "metric") if "metric" in settings else key, str(error)) from None
        except ValidationError as error:
            raise settings_error(loaded, key, error, metric_class(label, settings).model_fields) from None


def _check_degradation(loaded: Loaded, path: KeyPath, degradation: DegradationSpec) -> None:
    if (name := degradation.name) not in DEGRADATIONS:
        message = f"unknown degradation '{name}'. {did_you_mean(name, DEGRADATIONS)}"
        raise loaded.error((*path, "name"), message)
    try:
        DEGRADATIONS[name](**degradation.options)
    except ValidationError as error:
        raise settings_error(loaded, (*path, "options"), error, DEGRADATIONS[name].model_fields) from None


def _check_cross_tests(loaded: Loaded) -> None:
    """Raise UsageError at the line of a test that is no degradation, or that the cells have anyway."""
    protocol = loaded.protocol
    if protocol.test is None:
        return
    titles = {degradation.title for degradation in protocol.degradation}
    if protocol.test.shift:
        titles |= {degradation.shifted.title for degradation in protocol.degradation}
    for number, degradation in enumerate(protocol.test.degradations):
        path = ("test", "degradations", number)
        _check_degradation(loaded, path, degradation)
        if degradation.title in titles:
            raise loaded.error((*path, "name"), f"'{degradation.title}' is tested anyway; remove it")
        titles.add(degradation.title)
    if not any(protocol.cross_tests(degradation) for degradation in protocol.degradation):
        raise loaded.error(("test",), "it tests on nothing else; give degradations, or shift: half, or remove it")


def settings_error(loaded: Loaded, path: KeyPath, error: ValidationError, fields: Iterable[str]) -> UsageError:
    """What pydantic found wrong below the key at `path`, a line each."""
    problems = []
    for problem in error.errors():
        key, message = (*path, *problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key. {did_you_mean(str(key[-1]), fields)}"
        elif problem["type"] != "missing":
            message += f" (got {problem['input']!r})"
        problems.append(str(loaded.error(key, message)))
    return UsageError("\n".join(problems))
