"""Columns: the labels of a protocol or a command line, each with its method made ready.

Methods, presets and options are looked up here; one that is not known is an error at its line of the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from .. import registry
from ..errors import UsageError, did_you_mean
from ..method import Method, Recipe, TorchMethod
from ..protocol.loading import Loaded
from ..protocol.training_blocks import MethodSpec, RatesSpec
from ..registry import BrokenPlugin, Source
from ..store.plan import RateOrigin
from ..system.units import rate_text
from .names import settings_error


@dataclass(frozen=True)
class Entrant:
    """A label of the protocol or the command line with its method made ready, before contrast, scale and seed."""

    label: str
    source: Source
    method: Method | None
    broken: str | None
    recipe: Recipe | None
    rate_origin: RateOrigin | None
    train_subjects: int | None
    preset: str | None
    seeds: tuple[int, ...]
    plus_seeds: tuple[int, ...]
    """The seeds whose training is tested as a self-ensemble too."""

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another result; a method that cannot be loaded counts as such."""
        return self.method is None or self.method.seeded


def entrants_of(loaded: Loaded, labels: Iterable[str], rates: Mapping[str, float]) -> list[Entrant]:
    """Labels grouped by what trains together: `x` and `x+` are one entrant. `rates`: label → learning rate.

    In a search for learning rates, every network at each of its values.
    """
    entrants = [_with_rate(loaded, entrant, rates.get(entrant.label)) for entrant in _entrants(loaded, labels)]
    known = [entrant.label for entrant in entrants]
    if unknown := [label for label in rates if label not in known]:
        raise UsageError(f"--lr names '{unknown[0]}', which is not run. {did_you_mean(unknown[0], known)}")
    return _trials(loaded.protocol.rates, entrants) if loaded.searches_rates else entrants


def _with_rate(loaded: Loaded, entrant: Entrant, rate: float | None) -> Entrant:
    """The entrant with the learning rate of the command line, where that gives one."""
    if rate is None:
        return entrant
    if loaded.protocol.training.track != "equal" or entrant.recipe is None:
        raise UsageError(f"--lr is for networks in track equal; '{entrant.label}' takes none")
    return replace(entrant, recipe=entrant.recipe.model_copy(update={"lr": rate}), rate_origin="command")


def _trials(search: RatesSpec | None, entrants: list[Entrant]) -> list[Entrant]:
    """Every network at each value of the search, with a label of its own; what cannot be loaded stays, and fails."""
    values = search.values if search else ()
    trials = []
    for entrant in entrants:
        if entrant.recipe:
            trials += [
                replace(
                    entrant,
                    label=f"{entrant.label}-{rate_text(value)}",
                    recipe=entrant.recipe.model_copy(update={"lr": value}),
                    rate_origin="search",
                    plus_seeds=(),
                )
                for value in values
            ]
        elif entrant.broken:
            trials.append(entrant)
    if not trials:
        names = ", ".join(entrant.label for entrant in entrants)
        raise UsageError(f"rates are searched for networks, and none is among {names}; name one with --methods")
    return trials


def _entrants(loaded: Loaded, labels: Iterable[str]) -> list[Entrant]:
    with_plus: dict[str, bool] = {}
    for label in labels:
        plain = label.removesuffix("+")
        with_plus[plain] = with_plus.get(plain, False) or label.endswith("+")
    _check_ensembles(loaded)
    specs = {label: spec for label, spec in loaded.protocol.methods.items() if not label.endswith("+")}
    files = [label.partition(":")[0] for label in with_plus if _is_file(label)]
    known = registry.methods(files)
    entrants: list[Entrant] = []
    for label, plus in with_plus.items():
        path = ("methods", label if label in loaded.protocol.methods else f"{label}+")
        name, spec = _spec(label, specs)
        if name not in known:
            in_protocol = path[1] in loaded.protocol.methods
            message = f"unknown method '{name}'. {did_you_mean(name, known if in_protocol else {*known, *specs})}"
            raise loaded.error((*path, "method"), message) if in_protocol else UsageError(message)
        entrant = _entrant(loaded, path, label, known[name], spec, plus)
        if any(earlier.label == entrant.label for earlier in entrants):
            raise UsageError(f"two methods have the label '{entrant.label}'; give one another label in the protocol")
        entrants.append(entrant)
    return entrants


def _check_ensembles(loaded: Loaded) -> None:
    """Raise UsageError where a self-ensemble has settings that are those of its plain label."""
    for label, spec in loaded.protocol.methods.items():
        if not label.endswith("+"):
            continue
        if spec != MethodSpec(seeds=spec.seeds):
            message = (
                f"is the self-ensemble of '{label[:-1]}' and has no settings of its own but seeds; give them to "
                f"'{label[:-1]}'"
            )
            raise loaded.error(("methods", label), message)
        if more := set(spec.seeds or ()) - set(_seeds(loaded, label[:-1])):
            raise loaded.error(("methods", label, "seeds"), f"'{label[:-1]}' has no seed {min(more)}")


def _seeds(loaded: Loaded, label: str) -> tuple[int, ...]:
    """The seeds of a label: its own, those of the plain label for a self-ensemble, or the protocol's."""
    protocol = loaded.protocol
    for name in (label, label.removesuffix("+")):
        if name in protocol.methods and (seeds := protocol.methods[name].seeds):
            return seeds
    return protocol.seeds


def _is_file(label: str) -> bool:
    return label.partition(":")[0].endswith(".py") or "/" in label


def _spec(label: str, specs: dict[str, MethodSpec]) -> tuple[str, MethodSpec]:
    """The method name and spec of a label as written in the protocol or on the command line."""
    if label in specs:
        return specs[label].method or label, specs[label]
    name, _, preset = label.partition(":")
    return (Path(name).stem if _is_file(label) else name), MethodSpec(preset=preset or None)


def _entrant(
    loaded: Loaded, path: tuple[str, ...], label: str, source: Source, spec: MethodSpec, plus: bool
) -> Entrant:
    short = label if label in loaded.protocol.methods else source.name + (f"-{spec.preset}" if spec.preset else "")
    seeds = _seeds(loaded, label)
    plus_seeds = _seeds(loaded, f"{label}+") if plus else ()
    broken = Entrant(short, source, None, "", None, None, spec.train_subjects, spec.preset, seeds, plus_seeds)
    try:
        cls = registry.load_method(source)
    except BrokenPlugin as error:
        return replace(broken, broken=str(error))
    try:
        method = cls(spec.preset, **spec.options)
        method.options.model_dump(mode="json")  # plain data: they are recorded
    except ValidationError as error:
        raise settings_error(loaded, (*path, "options"), error, cls.Options.model_fields) from None
    except UsageError as error:
        raise loaded.error((*path, "preset"), f"{source.name}: {error}") from None
    except Exception as error:
        return replace(broken, broken=f"{source.path} cannot be made: {error_text(error)}")
    _check_spec(loaded, path, source, spec, method)
    recipe = _recipe(loaded, spec, method)
    origin = _rate_origin(loaded, spec) if recipe else None
    return replace(broken, method=method, broken=None, recipe=recipe, rate_origin=origin)


def _check_spec(loaded: Loaded, path: tuple[str, ...], source: Source, spec: MethodSpec, method: Method) -> None:
    """Raise UsageError at the key's line for a setting that the method or the split does not allow."""
    if spec.train_subjects is not None:
        available = len(loaded.split["train"])
        if not method.learns:
            raise loaded.error((*path, "train_subjects"), f"{source.name} learns nothing; remove it")
        if spec.train_subjects > available and "limit" not in loaded.overrides:
            raise loaded.error((*path, "train_subjects"), f"the split has {available} training subjects")
    if spec.lr is not None and (loaded.protocol.training.track != "equal" or not isinstance(method, TorchMethod)):
        message = "a label's own learning rate is for networks in track equal; remove it"
        raise loaded.error((*path, "lr"), message)


def _recipe(loaded: Loaded, spec: MethodSpec, method: Method) -> Recipe | None:
    """What trains a network: its own recipe with the changes of the protocol, the label and `--steps`."""
    if not isinstance(method, TorchMethod):
        return None
    changes = loaded.protocol.training.overrides()
    if loaded.protocol.training.track == "equal" and type(method).parameter_groups != TorchMethod.parameter_groups:
        changes["one_rate"] = True
    if spec.lr is not None:
        changes["lr"] = spec.lr
    if "steps" in loaded.overrides:
        changes["steps"] = loaded.overrides["steps"]
    return Recipe.model_validate({**method.recipe.model_dump(), **changes})


def _rate_origin(loaded: Loaded, spec: MethodSpec) -> RateOrigin:
    """Where a label's learning rate comes from; a rate of its own counts as found where the search lists it."""
    if spec.lr is not None:
        return "search" if loaded.protocol.rates and spec.lr in loaded.protocol.rates.values else "label"
    return "recipe" if loaded.protocol.training.lr is None else "protocol"


def error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
