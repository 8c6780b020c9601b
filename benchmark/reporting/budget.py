"""How the networks of a table were trained, validated and run: shared settings once, differing ones by label."""

from __future__ import annotations

from typing import Any

from ..store.plan import RateOrigin
from ..store.record import DoneRecord, Fit, RecipeMark, Resolved
from ..system.units import rate_text
from .rates import EQUAL
from .table import Table

_DESCRIBED = {
    "steps", "batch", "lr_patch", "augment", "loss", "optimizer", "optimizer_args", "schedule", "schedule_args",
    "clip_norm", "precision", "lr", "micro_batch", "start", "one_rate",
}  # fmt: skip
"""Fields of a recipe that `_aspects` and `_rates` describe, and micro_batch, which changes memory and no step.

Any other field is printed as it is recorded."""
_FALL = 0.5
"""dB below an earlier best beyond which a validation curve is called unsteady."""
_LATE_GAIN = 0.1
"""dB gained in the last fifth of a training beyond which its budget is called short."""


def training_statements(table: Table) -> list[str]:
    """Budget, learning rates, validation and inference, one statement each.

    A self-ensemble is not named: its training is that of its base.
    """
    trained = {label: records[0] for (_, label), records in table.records.items() if records[0].resolved.recipe}
    protocol = table.view.protocol
    side = protocol.validation_lr_patch
    if not trained:
        return [f"Budget: track {protocol.track}; the training loop trained no network."]
    trainings = {label.removesuffix("+"): record.resolved for label, record in trained.items()}
    aspects = {label.removesuffix("+"): _aspects(record) for label, record in trained.items()}
    names = dict.fromkeys(name for texts in aspects.values() for name in texts)
    by_label = {name: {label: texts[name] for label, texts in aspects.items() if name in texts} for name in names}
    shared = [
        name for name, texts in by_label.items() if len(texts) == len(trainings) and len(set(texts.values())) == 1
    ]
    shared_texts = [next(iter(by_label[name].values())) for name in shared]
    return [
        f"Budget: {'; '.join([f'track {protocol.track}', *shared_texts])}.",
        *(f"By label: {grouped(texts, len(trainings))}." for name, texts in by_label.items() if name not in shared),
        _rates(table, {label: _recipe(resolved).lr for label, resolved in trainings.items()}),
        f"Validation: every {protocol.validation_every} steps, on at most {protocol.validation_patches} "
        f"centre crops of {side}×{side} LR pixels. The weights with the best mean PSNR on these crops are kept. "
        "The test set is read once, after training.",
        f"Inference: {grouped({label: _inference(record) for label, record in trained.items()}, len(trained))}.",
    ]


def training_pixels(resolved: Resolved) -> int:
    """The LR pixels in all batches of a training; a sample of several slices (option `slices`) counts all of them."""
    recipe, slices = _recipe(resolved), int(resolved.options.get("slices", 1))
    return recipe.steps * recipe.batch * slices * recipe.lr_patch**2


def _recipe(resolved: Resolved) -> RecipeMark:
    """The recipe of a network."""
    assert resolved.recipe is not None
    return resolved.recipe


def _aspects(record: DoneRecord) -> dict[str, str]:
    """Aspect of a recipe → its description; the learning rate has a statement of its own."""
    resolved, used = record.resolved, record.fit.precision if record.fit else None
    recipe, slices = _recipe(resolved), resolved.options.get("slices", 1)
    patch = "×".join(map(str, [*([slices] if slices > 1 else []), recipe.lr_patch, recipe.lr_patch]))
    clip = recipe.clip_norm
    described = {
        "steps": f"{recipe.steps:,} steps of {recipe.batch} LR patches {patch} "
        f"({training_pixels(resolved):,} LR pixels)",
        "augment": f"augmentation {recipe.augment}",
        "loss": f"loss {recipe.loss}",
        "optimizer": f"optimiser {recipe.optimizer}{_settings(recipe.optimizer_args)}",
        "schedule": f"schedule {recipe.schedule}{_settings(recipe.schedule_args)}",
        "clip_norm": "gradients not clipped" if clip is None else f"gradient norm clipped at {clip:g}",
        "precision": f"precision {recipe.precision}" + (f" ({used})" if used and used != recipe.precision else ""),
    }
    if recipe.start == "bicubic":
        described["start"] = (
            "start bicubic: network output + bicubic, last layer 0 at step 0; a departure from every paper here"
        )
    if recipe.one_rate:
        described["one_rate"] = "its layers' own learning rates ignored"
    if resolved.streams == "row":
        described["streams"] = "a seed's random streams differ between rows"
    rest = {
        name: f"{name} {value}"
        for name, value in recipe.model_dump().items()
        if name not in _DESCRIBED and value is not None
    }
    return described | rest


def _settings(settings: dict[str, Any]) -> str:
    """' (min_lr 1e-6, warmup_epochs 50)'; timm's epochs are steps here."""
    texts = [
        f"{key} {rate_text(value) if isinstance(value, float) else value}" for key, value in sorted(settings.items())
    ]
    return f" ({', '.join(texts)})" if texts else ""


def _rates(table: Table, rates: dict[str, float]) -> str:
    """Every network's learning rate, and how it came about."""
    if len(set(rates.values())) == 1:
        listed = f"Learning rate: {rate_text(next(iter(rates.values())))} for every network"
    else:
        listed = f"Learning rates: {', '.join(f'{label} {rate_text(rate)}' for label, rate in rates.items())}"
    origins = {planned.cell.label.removesuffix("+"): planned.column.rate_origin for planned in table.view.cells}
    texts = {label: _origin_text(table, origins.get(label)) for label in rates if origins.get(label)}
    search = table.view.protocol.rates
    extremes = (search.values[0], search.values[-1]) if search else ()
    ends = [label for label, rate in rates.items() if origins.get(label) == "search" and rate in extremes]
    end = f" At an end of the values tried: {', '.join(ends)}." if ends else ""
    return f"{listed}{f'; {grouped(texts, len(rates))}' if texts else ''}.{end}"


def _origin_text(table: Table, origin: RateOrigin | None) -> str:
    search = table.view.protocol.rates
    if origin == "search" and search:
        values = ", ".join(map(rate_text, search.values))
        return (
            f"by bench rates: of {values} the smallest within {EQUAL} dB of the best validation PSNR on {search.cell}"
        )
    texts = {
        "recipe": "that of the method's own recipe",
        "protocol": "set by the protocol for all, not searched for",
        "label": "set by the protocol for the label, not searched for",
        "command": "given on the command line",
    }
    return texts.get(origin or "", "")


def curve_statements(table: Table) -> list[str]:
    """The trainings in which the divergence guard acted, and those whose validation fell or was still rising."""
    parts = []
    if guarded := _guarded(table):
        parts.append(f"Divergence guard: {'; '.join(guarded)}.")
    if unsettled := _unsettled(table):
        parts.append(f"Training curves: {'; '.join(unsettled)}.")
    return parts


def _guarded(table: Table) -> list[str]:
    """Each training in which the guard acted, e.g. 'edsr T1 x2 seed 0 skipped 12 steps, rolled back once'."""
    notes = []
    for cell, fit in _fits(table).items():
        if fit.skipped_steps:
            steps = "1 step" if fit.skipped_steps == 1 else f"{fit.skipped_steps} steps"
            times = {0: "", 1: ", rolled back once"}.get(fit.rollbacks, f", rolled back {fit.rollbacks} times")
            notes.append(f"{cell} skipped {steps}{times}")
    return notes


def _unsettled(table: Table) -> list[str]:
    """Each training whose validation PSNR fell, or was still rising, e.g. 'edsr T1 x2 seed 0 fell 0.7 dB below …'."""
    notes = []
    for cell, fit in _fits(table).items():
        parts = []
        if fit.validation_fall is not None and fit.validation_fall > _FALL:
            parts.append(f"fell {fit.validation_fall:.1f} dB below its earlier best")
        if fit.late_gain is not None and fit.late_gain > _LATE_GAIN:
            parts.append(f"still gained {fit.late_gain:.1f} dB in the last fifth")
        if parts:
            notes.append(f"{cell} {' and '.join(parts)}")
    return notes


def _fits(table: Table) -> dict[str, Fit]:
    """Training, e.g. 'edsr T1 x2 seed 0', → its fit; a self-ensemble's is that of its base."""
    return {
        f"{label.removesuffix('+')} {' '.join(row)} seed {record.resolved.seed}": record.fit
        for (row, label), records in table.records.items()
        for record in records
        if record.fit
    }


def _inference(record: DoneRecord) -> str:
    tiles = record.inference
    return f"tiles of {tiles.tile} with overlap {tiles.overlap} LR pixels" if tiles else "whole slices"


def grouped(texts: dict[str, str], labels: int) -> str:
    """'loss l1 (edsr, poan); loss mse (srcnn)'; without names for a text that all of the `labels` labels share."""
    by_text: dict[str, list[str]] = {}
    for label, text in texts.items():
        by_text.setdefault(text, []).append(label)
    if [len(sharing) for sharing in by_text.values()] == [labels]:
        return next(iter(by_text))
    return "; ".join(f"{text} ({', '.join(sharing)})" for text, sharing in by_text.items())
