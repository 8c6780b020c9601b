"""The table: rows contrast × scale, columns methods, every figure from a record, and a caption that says what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from ..cell import Cell, Training
from ..protocol import Loaded
from ..records import Record, Store

Format = Literal["markdown", "latex", "csv"]
DECIMALS = {"psnr": 2, "ssim": 4}
"""Digits after the point, as in the published tables; other metrics get four."""
UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


_DATA: dict[str, Callable[[Record], str | None]] = {
    "test": lambda record: record["test_data_digest"],
    "training": lambda record: record["fit"].get("train_data_digest"),
}
"""What must agree in a row → where a record keeps its digest; None where a method does not learn."""


@dataclass
class Table:
    """The figures of one protocol, and what is not among them."""

    loaded: Loaded
    rows: list[tuple[str, ...]] = field(default_factory=list)
    """(contrast, scale), with the degradation first where the protocol has several."""
    labels: list[str] = field(default_factory=list)
    values: dict[tuple[tuple[str, ...], str], list[Record]] = field(default_factory=dict)
    """(row, label) → one record a seed."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Why → the cells that have no figure here."""

    @property
    def metrics(self) -> list[str]:
        return list(self.loaded.protocol.scoring.metrics)

    def frame(self) -> pd.DataFrame:
        """Mean over seeds: index row, columns (label, metric); NaN where there is no figure; caption in attrs."""
        columns = pd.MultiIndex.from_product([self.labels, self.metrics], names=["method", "metric"])
        names = ["degradation", "contrast", "scale"][-len(self.rows[0]) :] if self.rows else ["contrast", "scale"]
        frame = pd.DataFrame(index=pd.MultiIndex.from_tuples(self.rows, names=names), columns=columns, dtype=float)
        for (row, label), found in self.values.items():
            for metric in self.metrics:
                frame.loc[row, (label, metric)] = math.fsum(r["metrics"][metric] for r in found) / len(found)
        frame.attrs["caption"] = self.caption()
        return frame

    def records(self) -> pd.DataFrame:
        """Key figures of every record behind the table: quality, cost, and the commit that made it."""
        primary = self.metrics[0]
        rows = []
        for (row, label), found in self.values.items():
            for record in found:
                fit = record["fit"]
                about = {
                    "method": label,
                    "seed": record["resolved"]["seed"],
                    primary: _shown(primary, record["metrics"][primary]),
                }
                cost = {
                    "parameters": fit.get("parameters"),
                    "MACs (LR 24×24)": fit.get("macs_lr24"),
                    "fit s": fit.get("seconds"),
                    "s/volume": record["seconds_per_volume"],
                    "peak MB": round(record["peak_memory_bytes"] / 1e6),
                    "device": record["environment"]["device"],
                    "commit": (record["environment"]["git"] or "–")[:10],
                }
                rows.append({"row": " ".join(row), **about, **cost})
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """Protocol, version, digest, convention, n, seeds, budget, and what is missing, failed or stale."""
        protocol, found = self.loaded.protocol, [record for records in self.values.values() for record in records]
        subjects = sorted({record["n"] for record in found})
        seeds = sorted({record["resolved"]["seed"] for record in found})
        parts = [
            f"Protocol {self.loaded.folder}, version {protocol.version}, digest {self.loaded.digest[:12]}: "
            f"{' '.join(protocol.description.split())}",
            f"{_conventions(self.loaded)}; mean over n = {'/'.join(map(str, subjects)) or '0'} test subjects.",
            f"Seeds: {', '.join(map(str, seeds)) or 'none'}"
            + ("; one seed, so no claim about a method beyond these trained networks." if len(seeds) < 2 else "."),
            f"Budget: {_budget(self.loaded, found)}.",
        ]
        if options := self._options():
            parts.append(f"Options: {'; '.join(options)}.")
        if any(record["environment"]["git"] and "-dirty" in record["environment"]["git"] for record in found):
            parts.append("Some figures come from uncommitted code.")
        if guarded := self._guarded():
            parts.append(f"Divergence guard: {'; '.join(guarded)}.")
        parts += [f"{why}: {', '.join(cells)}." for why, cells in self.absent.items()]
        return "\n".join(parts)

    def _guarded(self) -> list[str]:
        """Each training whose guard had to act, e.g. 'edsr T1 x2 seed 0 skipped 12 steps, rolled back once'."""
        notes: dict[str, None] = {}
        for (row, label), found in self.values.items():
            for record in found:
                skipped, back = (record["fit"].get(name, 0) for name in ("skipped_steps", "rollbacks"))
                if skipped:
                    cell = f"{label.removesuffix('+')} {' '.join(row)} seed {record['resolved']['seed']}"
                    steps = "1 step" if skipped == 1 else f"{skipped} steps"
                    times = {0: "", 1: ", rolled back once"}.get(back, f", rolled back {back} times")
                    notes[f"{cell} skipped {steps}{times}"] = None
        return list(notes)

    def _options(self) -> list[str]:
        """Every column's preset and options; what all columns of one method share is said once."""
        columns: dict[str, dict[str, list[str]]] = {}
        for (_, label), records in self.values.items():
            resolved, spec = records[0]["resolved"], self.loaded.protocol.methods.get(label.removesuffix("+"))
            preset = [f"preset {spec.preset}"] if spec and spec.preset else []
            settings = preset + [f"{key} {value}" for key, value in resolved["options"].items()]
            columns.setdefault(resolved["method"], {})[label] = settings
        parts = []
        for of in columns.values():
            shared = [setting for setting in next(iter(of.values())) if all(setting in other for other in of.values())]
            parts.append(f"{', '.join(of)} ({', '.join(shared)})" if shared else "")
            for label, settings in of.items():
                own = [setting for setting in settings if setting not in shared]
                parts.append(f"{label} ({', '.join(own)})" if own else "")
        return [part for part in parts if part]


def build(store: Store, loaded: Loaded, trainings: Sequence[Training]) -> Table:
    """Collect the figures of a plan. Figures of stale cells, or made on other data than their row's, are left out."""
    table = Table(loaded)
    several = len(loaded.protocol.degradation) > 1
    for training in trainings:
        for cell in training.cells:
            row = ((cell.degradation.name,) if several else ()) + (cell.contrast, cell.scale)
            if row not in table.rows:
                table.rows.append(row)
            if cell.label not in table.labels:
                table.labels.append(cell.label)
            record, state = store.read(loaded, cell), store.state(training, cell)
            if state == "changed":
                table.absent.setdefault("The method's file has changed since", []).append(str(cell))
            if state in ("done", "changed") and record is not None:
                table.values.setdefault((row, cell.label), []).append(record)
            else:
                table.absent.setdefault(state.capitalize(), []).append(_brief(cell, record, state))
    _demand_same_data(table)
    return table


def _demand_same_data(table: Table) -> None:
    """Every figure of a row must come from the same test volumes and training volumes; the newest record says which."""
    for row in table.rows:
        for what, digest_of in _DATA.items():
            cells = [(label, record) for (where, label), of in table.values.items() if where == row for record in of]
            dated = [(record["written"], digest_of(record)) for _, record in cells if digest_of(record)]
            for label, record in cells:
                if digest_of(record) and digest_of(record) != max(dated)[1]:
                    table.values[row, label].remove(record)
                    reason = f"Left out, made on other {what} data than the rest of its row"
                    table.absent.setdefault(reason, []).append(f"{label} {' '.join(row)}")
    table.values = {place: records for place, records in table.values.items() if records}


def _brief(cell: Cell, record: Record | None, state: str) -> str:
    error = record.get("error") if record and state in ("failed", "timeout", "skipped") else None
    return f"{cell}" + (f" ({str(error).splitlines()[0]})" if error else "")


def _conventions(loaded: Loaded) -> str:
    scoring = loaded.protocol.scoring
    parts = [
        f"{UNITS.get(name, name)} with {', '.join(f'{key} {value}' for key, value in convention.items())}"
        for name, convention in scoring.metrics.items()
    ]
    return f"{'; '.join(parts)}; per {scoring.unit}, border {scoring.border}, rounding {scoring.round}"


def _budget(loaded: Loaded, found: list[Record]) -> str:
    recipes = {
        (r["recipe"]["steps"], r["recipe"]["batch"], r["recipe"]["lr_patch"])
        for r in (record["resolved"] for record in found)
        if r["recipe"]
    }
    budgets = [f"{steps} steps of {batch} LR patches {side}×{side}" for steps, batch, side in sorted(recipes)]
    return f"track {loaded.protocol.training.track}; {' / '.join(budgets) or 'nothing trained by the loop'}"


def render(table: Table, format: Format) -> str:
    """The table as Markdown, LaTeX (needs the package booktabs) or CSV."""
    if format == "csv":
        frame = table.frame()
        frame.columns = frame.columns.map(" ".join)
        return frame.to_csv()
    best = {"markdown": "**{}**", "latex": r"\textbf{{{}}}"}[format]
    second = {"markdown": "<u>{}</u>", "latex": r"\underline{{{}}}"}[format]
    cells = _cells(table, best, second)
    if format == "markdown":
        blocks = [_markdown(cells.reset_index()), table.caption(), _markdown(_readable(table.records()))]
        return "\n\n".join(blocks) + "\n"
    cells.columns = pd.Index([_latex(label) for label in cells.columns])
    cells.index = pd.MultiIndex.from_tuples(
        [tuple(_latex(part) for part in row) for row in table.rows], names=[_latex(str(n)) for n in cells.index.names]
    )
    caption = _latex(table.caption().replace("\n", " "))
    return cells.reset_index().to_latex(
        index=False, escape=False, caption=caption, label=f"tab:{table.loaded.protocol.name}", position="tbp"
    )


def _shown(metric: str, value: Any) -> str:
    return f"{value:.{DECIMALS.get(metric, 4)}f}"


def _markdown(frame: pd.DataFrame) -> str:
    return frame.to_markdown(index=False, tablefmt="github", disable_numparse=True) if len(frame) else ""


def _readable(records: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text: thousands apart, no digits that mean nothing."""

    def text(value: Any) -> str:
        if isinstance(value, str):
            return value
        if pd.isna(value):
            return "–"
        return (
            f"{value:,.0f}"
            if float(value).is_integer() or value >= 100
            else f"{value:.3g}"
            if value < 1
            else f"{value:.2f}"
        )

    return records.map(text)


def _cells(table: Table, best: str, second: str) -> pd.DataFrame:
    """Every cell as 'PSNR/SSIM', the best of each metric in a row and the second marked, ties alike."""
    frame = table.frame()
    text = pd.DataFrame("–", index=frame.index, columns=table.labels)
    for row in frame.index:
        parts: dict[str, list[str]] = {label: [] for label in table.labels}
        for metric in table.metrics:
            shown = {label: _shown(metric, frame.loc[row, (label, metric)]) for label in table.labels}
            ranked = sorted({float(value) for value in shown.values() if value != "nan"}, reverse=True)
            for label, value in shown.items():
                mark = {0: best, 1: second}.get(ranked.index(float(value)), "{}") if value != "nan" else "{}"
                parts[label].append(mark.format(value))
        for label in table.labels:
            if "nan" not in parts[label]:
                text.loc[row, label] = "/".join(parts[label])
    return text


_LATEX: dict[str, Any] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
