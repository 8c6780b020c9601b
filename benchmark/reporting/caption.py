"""The caption: what the figures of a table are, what they are not, and what is missing among them."""

from __future__ import annotations

import numpy as np

from ..replication import published as quoted
from ..store.record import DoneRecord
from . import budget
from .table import Row, Table


def caption_of(table: Table, mark: str = "[quoted: …]") -> str:
    """Protocol, version, digest, conventions, n, seeds, budget, what is missing or stale, and what is quoted.

    A statement a line; `mark` is what the headings of quoted columns carry.
    """
    protocol, found = table.view.protocol, [record for records in table.values.values() for record in records]
    subjects = sorted({record.n for record in found})
    parts = [
        f"Protocol {protocol.folder}, version {protocol.version}, digest {protocol.digest[:12]}: "
        f"{protocol.description}",
        f"Cells: {'/'.join(table.main)}. {_conventions(table)}; "
        f"mean over n = {'/'.join(map(str, subjects)) or '0'} test subjects.",
        *_seeds(table, found),
        *budget.statements(table),
    ]
    if numbers := _training_subjects(table):
        parts.append(f"Training subjects: {numbers}.")
    if options := _options(table):
        parts.append(f"Options: {'; '.join(options)}.")
    if any("-dirty" in (record.environment.git or "") for record in found):
        parts.append("Some figures come from uncommitted code.")
    if native := _native(table):
        parts.append(f"HR is on its acquired grid, median of the test subjects: {'; '.join(native)}.")
    if guarded := _guarded(table):
        parts.append(f"Divergence guard: {'; '.join(guarded)}.")
    parts += [f"{why}: {', '.join(cells)}." for why, cells in table.absent.items()]
    if table.published:
        parts += _quoted(table, mark)
    return "\n".join(parts)


def _conventions(table: Table) -> str:
    """Every metric's convention in full."""
    protocol, metrics = table.view.protocol, "; ".join(metric.convention for metric in table.conventions.values())
    return f"{metrics}; per {protocol.unit}, border {protocol.border}, rounding {protocol.rounding}"


def _seeds(table: Table, found: list[DoneRecord]) -> list[str]:
    """Which seeds, how many of them a figure is a mean of, and where some are still to come."""
    seeds = sorted({record.resolved.seed for record in found})
    first = f"Seeds: {', '.join(map(str, seeds)) or 'none'}"
    by_label: dict[str, dict[Row, int]] = {}
    for (row, label), records in table.values.items():
        by_label.setdefault(label, {})[row] = len(records)
    cells: dict[int, list[str]] = {}
    for label, counts in by_label.items():
        if len(set(counts.values())) == 1:
            cells.setdefault(next(iter(counts.values())), []).append(label)
        else:
            for row, count in counts.items():
                cells.setdefault(count, []).append(f"{label} {' '.join(row)}")
    if max(cells, default=1) < 2:
        return [f"{first}; one seed, so no claim about a method beyond these trained networks."]
    several = "; ".join(
        f"± SD over {count} seeds: {', '.join(cells[count])}" for count in sorted(cells)[::-1] if count > 1
    )
    single = f"; one seed, so without ±: {', '.join(cells[1])}" if 1 in cells else ""
    parts = [
        f"{first}. A figure of several seeds is their mean ± their sample standard deviation (SD). {several}{single}."
    ]
    fewer = [
        f"{label} {' '.join(row)} ({len(records)} of {len(table.seeds[row, label])})"
        for (row, label), records in table.values.items()
        if len(records) < len(table.seeds[row, label])
    ]
    return parts + ([f"Fewer seeds than asked for: {', '.join(fewer)}."] if fewer else [])


def _training_subjects(table: Table) -> str:
    """How many people the columns learned from, where that differs, e.g. '10 (edsr-n10), 500 (edsr, poan)'."""
    labels: dict[int, dict[str, None]] = {}
    for (_, label), records in table.values.items():
        if records[0].fit:
            number = records[0].resolved.train_subjects or table.view.protocol.train_subjects
            labels.setdefault(number, {})[label] = None
    numbers = [f"{number} ({', '.join(of)})" for number, of in sorted(labels.items())]
    return ", ".join(numbers) if len(numbers) > 1 else ""


def _options(table: Table) -> list[str]:
    """Every column's preset and options; what all columns of one method share is said once."""
    columns: dict[str, dict[str, list[str]]] = {}
    for (_, label), records in table.values.items():
        resolved, preset = records[0].resolved, records[0].preset
        settings = [f"preset {preset}"] if preset else []
        settings += [f"{key} {value}" for key, value in resolved.options.items()]
        columns.setdefault(resolved.method, {})[label] = settings
    parts = []
    for of in columns.values():
        shared = [setting for setting in next(iter(of.values())) if all(setting in other for other in of.values())]
        parts.append(f"{', '.join(of)} ({', '.join(shared)})" if shared else "")
        for label, settings in of.items():
            own = [setting for setting in settings if setting not in shared]
            parts.append(f"{label} ({', '.join(own)})" if own else "")
    return [part for part in parts if part]


def _native(table: Table) -> list[str]:
    """What a row's factor means, e.g. 'PD x2: 188×192 of 256×256 samples, a factor of 2.72×2.67 of the stored grid'."""
    notes: dict[str, None] = {}
    for (row, _), found in table.values.items():
        for record in found:
            if samples := record.acquired_samples:
                acquired, stored = np.median(np.array(list(samples.values())), axis=0)
                factors = np.array(record.resolved.factors[1:]) * stored / acquired
                counts = f"{acquired[0]:.0f}×{acquired[1]:.0f} of {stored[0]:.0f}×{stored[1]:.0f} samples"
                notes[
                    f"{' '.join(row)}: {counts}, a factor of {factors[0]:.2f}×{factors[1]:.2f} of the stored grid"
                ] = None
    return list(notes)


def _guarded(table: Table) -> list[str]:
    """Each training whose guard had to act, e.g. 'edsr T1 x2 seed 0 skipped 12 steps, rolled back once'."""
    notes: dict[str, None] = {}
    for (row, label), found in table.values.items():
        for record in found:
            if record.fit and record.fit.skipped_steps:
                cell = f"{label.removesuffix('+')} {' '.join(row)} seed {record.resolved.seed}"
                skipped, back = record.fit.skipped_steps, record.fit.rollbacks
                steps = "1 step" if skipped == 1 else f"{skipped} steps"
                times = {0: "", 1: ", rolled back once"}.get(back, f", rolled back {back} times")
                notes[f"{cell} skipped {steps}{times}"] = None
    return list(notes)


def _quoted(table: Table, mark: str) -> list[str]:
    """Whose figures stand beside ours, why they do not compare exactly, what is wrong with them, and where none are."""
    papers = quoted.sources()
    used = dict.fromkeys(quote.source for quote in table.quotes.values())
    beside = {quote.method for quote in table.quotes.values()}
    alone = [label for label in table.labels if quoted.METHODS.get(label) not in beside]
    bare = [" ".join(row) for row in table.rows if row not in [place for place, _ in table.quotes]]
    parts = []
    if used:
        parts.append(
            f"Quoted, not run here: the columns marked {mark} repeat what is printed by "
            + "; by ".join(f"{quoted.name(source)} ({papers[source][1]})" for source in used)
            + ". Their test subjects, PSNR peak, averaging, border and SSIM window are not published, and their budgets"
            " differ, so a difference between a quoted column and another is no measured gain."
        )
    if errors := quoted.known_errors(table.quotes.values()):
        parts.append(f"Known errors of what is quoted: {'; '.join(errors)}.")
    if alone:
        parts.append(f"Nothing is quoted for the columns {', '.join(alone)}.")
    if bare:
        parts.append(f"No quoted figure applies to the rows {', '.join(bare)}.")
    return parts
