"""How the networks of a table were trained, chosen and run: what they share is said once, what differs by label."""

from __future__ import annotations

from typing import Any

from ..store.record import DoneRecord, RecipeMark, Resolved
from .table import Table

_WORDED = {
    "steps", "batch", "lr_patch", "augment", "loss", "optimizer", "optimizer_args", "schedule", "schedule_args",
    "clip_norm", "precision", "lr", "micro_batch",
}  # fmt: skip
"""Fields of a recipe that have words of their own, and micro_batch, which changes memory and no step.

Any other field stands in the caption as it is recorded."""


def statements(table: Table) -> list[str]:
    """Budget, learning rates, validation and inference, a statement each. A self-ensemble is its base's training."""
    trained = {label: records[0] for (_, label), records in table.values.items() if records[0].resolved.recipe}
    protocol = table.view.protocol
    side = protocol.validation_lr_patch
    if not trained:
        return [f"Budget: track {protocol.track}; nothing trained by the loop."]
    fits = {label.removesuffix("+"): record.resolved for label, record in trained.items()}
    aspects = {label: _aspects(resolved) for label, resolved in fits.items()}
    names = dict.fromkeys(name for of in aspects.values() for name in of)
    texts = {name: {label: of[name] for label, of in aspects.items() if name in of} for name in names}
    shared = [name for name, of in texts.items() if len(of) == len(fits) and len(set(of.values())) == 1]
    said = [next(iter(texts[name].values())) for name in shared]
    return [
        f"Budget: {'; '.join([f'track {protocol.track}', *said])}.",
        *(f"By label: {_grouped(of, len(fits))}." for name, of in texts.items() if name not in shared),
        _rates({label: _recipe(resolved).lr for label, resolved in fits.items()}),
        f"Validation: every {protocol.validation_every} steps, on at most {protocol.validation_patches} "
        f"centre crops of {side}×{side} LR pixels; kept are the weights of the best mean PSNR there. "
        "The test set is read once, after training.",
        f"Inference: {_grouped({label: _inference(record) for label, record in trained.items()}, len(trained))}.",
    ]


def pixels(resolved: Resolved) -> int:
    """The LR pixels that a training sees, those of all slices where the method's option `slices` makes one sample."""
    recipe, slices = _recipe(resolved), int(resolved.options.get("slices", 1))
    return recipe.steps * recipe.batch * slices * recipe.lr_patch**2


def _recipe(resolved: Resolved) -> RecipeMark:
    """That of a network."""
    assert resolved.recipe is not None
    return resolved.recipe


def _aspects(resolved: Resolved) -> dict[str, str]:
    """Each aspect of a recipe in words; the learning rate has a line of its own."""
    recipe, slices = _recipe(resolved), resolved.options.get("slices", 1)
    patch = "×".join(map(str, [*([slices] if slices > 1 else []), recipe.lr_patch, recipe.lr_patch]))
    clip = recipe.clip_norm
    worded = {
        "steps": f"{recipe.steps:,} steps of {recipe.batch} LR patches {patch} ({pixels(resolved):,} LR pixels)",
        "augment": f"augmentation {recipe.augment}",
        "loss": f"loss {recipe.loss}",
        "optimizer": f"optimiser {recipe.optimizer}{_settings(recipe.optimizer_args)}",
        "schedule": f"schedule {recipe.schedule}{_settings(recipe.schedule_args)}",
        "clip_norm": "gradients not clipped" if clip is None else f"gradient norm clipped at {clip:g}",
        "precision": f"precision {recipe.precision}",
    }
    rest = {
        name: f"{name} {value}"
        for name, value in recipe.model_dump().items()
        if name not in _WORDED and value is not None
    }
    return worded | rest


def _settings(settings: dict[str, Any]) -> str:
    """' (min_lr 1e-6, warmup_epochs 50)'; timm's epochs are steps here."""
    said = [f"{key} {_rate(value) if isinstance(value, float) else value}" for key, value in sorted(settings.items())]
    return f" ({', '.join(said)})" if said else ""


def _rates(rates: dict[str, float]) -> str:
    if len(set(rates.values())) == 1:
        return f"Learning rate: {_rate(next(iter(rates.values())))} for every network."
    return f"Learning rates: {', '.join(f'{label} {_rate(rate)}' for label, rate in rates.items())}."


def _rate(value: float) -> str:
    """Shortest of the usual forms: '1e-3', '2.5e-4', '0.5', '1'."""
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return f"{value:.12g}"
    mantissa, _, exponent = f"{value:.11e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _inference(record: DoneRecord) -> str:
    tiles = record.inference
    return f"tiles of {tiles.tile} with overlap {tiles.overlap} LR pixels" if tiles else "whole slices"


def _grouped(texts: dict[str, str], everyone: int) -> str:
    """'loss l1 (edsr, poan); loss mse (srcnn)'; a text that all of `everyone` labels share stands alone."""
    labels: dict[str, list[str]] = {}
    for label, text in texts.items():
        labels.setdefault(text, []).append(label)
    if [len(of) for of in labels.values()] == [everyone]:
        return next(iter(labels))
    return "; ".join(f"{text} ({', '.join(of)})" for text, of in labels.items())
