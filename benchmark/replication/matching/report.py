"""The results of matching an archive: as a split, as a page to read, and as JSON with every file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from ...system.files import json_text
from ..splits import Folds, as_csv
from .lr_degradations import LrDegradation
from .search import VolumeOrigin

FOLDS = ("train", "val", "test")
_TITLES = {
    "subject": "Subject in two folds",
    "ambiguous": "Several exact matches",
    "unmatched": "No exact match",
    "twice": "Volume found more than once",
    "incomplete": "Subject with a contrast missing",
    "damaged": "File that cannot be read",
    "low": "LR volume that could not be paired",
    "dataset": "File of the data set that cannot be used",
    "others": "File that holds no volume",
}


@dataclass(frozen=True)
class MatchingReport:
    """Everything that `match_archive` found."""

    origins: Sequence[VolumeOrigin]
    folds: dict[str, str]
    """HR file → fold."""
    lr_degradations: Sequence[LrDegradation]
    damaged: Sequence[str]
    lr_problems: dict[str, str]
    dataset_problems: Sequence[str]
    others: Sequence[str] = field(default_factory=tuple)

    def sides(self) -> dict[str, set[str]]:
        """Subject → the folds that its exactly matched volumes lie in."""
        sides: dict[str, set[str]] = defaultdict(set)
        for origin in self.origins:
            if origin.match:
                sides[origin.match.subject].add(self.folds[origin.volume.name])
        return dict(sides)

    def conflicts(self) -> dict[str, set[str]]:
        """The subjects that the archive has on more than one side."""
        return {subject: folds for subject, folds in self.sides().items() if len(folds) > 1}

    def split(self) -> Folds:
        """Fold → subjects, without those in conflict."""
        folds: Folds = {fold: [] for fold in FOLDS}
        for subject, sides in sorted(self.sides().items()):
            if len(sides) == 1:
                folds[next(iter(sides))].append(subject)
        return folds

    def csv(self) -> str:
        return as_csv(self.split())

    def missing_folds(self) -> list[str]:
        return [fold for fold, subjects in self.split().items() if not subjects]

    def problems(self) -> dict[str, list[str]]:
        """Kind of problem (see `_TITLES`) → a line for each."""
        lines: dict[str, list[str]] = {kind: [] for kind in _TITLES}
        lines["subject"] = [f"{s}: {' and '.join(sorted(f))}" for s, f in sorted(self.conflicts().items())]
        owners: dict[tuple[str, str], list[str]] = defaultdict(list)
        for origin in self.origins:
            if origin.match:
                owners[origin.match.subject, origin.match.contrast].append(origin.volume.name)
            elif origin.exact:
                names = ", ".join(f"{match.subject} {match.contrast}" for match in origin.exact)
                lines["ambiguous"].append(f"{origin.volume.name}: equals {names}")
            else:
                lines["unmatched"].append(f"{origin.volume.name}: {_nearest(origin)}")
        lines["twice"] = [f"{' '.join(key)}: {', '.join(names)}" for key, names in owners.items() if len(names) > 1]
        contrasts = {contrast for _, contrast in owners}
        for subject in sorted({subject for subject, _ in owners}):
            if lacking := sorted(contrast for contrast in contrasts if (subject, contrast) not in owners):
                lines["incomplete"].append(f"{subject}: no {', '.join(lacking)}")
        lines["damaged"], lines["others"] = list(self.damaged), list(self.others)
        lines["low"] = [f"{name}: {reason}" for name, reason in self.lr_problems.items()]
        lines["dataset"] = list(self.dataset_problems)
        return lines

    def json(self) -> str:
        volumes = [
            {
                "file": origin.volume.name,
                "shape": origin.volume.shape,
                "fold": self.folds[origin.volume.name],
                "problem": origin.problem,
                "exact": origin.match is not None,
                "candidates": [asdict(match) for match in origin.matches],
            }
            for origin in self.origins
        ]
        content = {
            "volumes": volumes,
            "lr": [asdict(degradation) for degradation in self.lr_degradations],
            "problems": self.problems(),
        }
        return json_text(content) + "\n"

    def markdown(self, archive: str) -> str:
        """The page: counts, geometry, intensities, LR, problems."""
        return (
            "\n".join(["# A split recovered from an archive", "", f"Archive: `{archive}`", "", *self._lines()]) + "\n"
        )

    def _lines(self) -> Iterator[str]:
        exact = [origin for origin in self.origins if origin.match]
        yield f"{len(exact)} of {len(self.origins)} HR volumes match a volume of the data set in every voxel."
        yield ""
        yield "| fold | subjects | volumes by contrast |"
        yield "|---|---|---|"
        for fold, subjects in self.split().items():
            contrasts = Counter(
                origin.match.contrast for origin in exact if origin.match and self.folds[origin.volume.name] == fold
            )
            yield f"| {fold} | {len(subjects)} | {', '.join(f'{c} {n}' for c, n in sorted(contrasts.items())) or '–'} |"
        yield from ["", *(f"{line}\n" for line in self.warnings())]
        yield from self._geometry()
        yield from self._lr()
        for kind, lines in self.problems().items():
            if lines:
                yield from ["", f"## {_TITLES[kind]} ({len(lines)})", "", *(f"- {line}" for line in lines)]

    def _geometry(self) -> Iterator[str]:
        """Crop, axes and intensities, counted by contrast."""
        yield "## Crop, axes and intensities"
        yield ""
        yield "Axes: the direction that each axis of the archive's volumes points to. Offset: the crop's first voxel"
        yield "along R, A and S, minus that of a centre crop. Intensities: what was done to the values of the data set."
        yield ""
        yield "| contrast | shape | axes | offset | intensities | volumes | with negatives clipped |"
        yield "|---|---|---|---|---|---|---|"
        rows: Counter[tuple[str, ...]] = Counter()
        clipped: Counter[tuple[str, ...]] = Counter()
        for origin in self.origins:
            if match := origin.match:
                shape, offset = _times(origin.volume.shape), ", ".join(f"{n:+d}" for n in match.from_centre)
                row: tuple[str, ...] = (match.contrast, shape, match.codes, offset, match.rule)
                rows[row] += 1
                clipped[row] += match.clipped > 0
        for cells, number in sorted(rows.items(), key=lambda pair: (pair[0][0], -pair[1], pair[0])):
            yield f"| {' | '.join(cells)} | {number} | {clipped[cells]} |"

    def _lr(self) -> Iterator[str]:
        """How LR was made."""
        if not self.lr_degradations:
            return
        yield from ["", "## LR", ""]
        yield "Of all degradations and roundings of the suite, the one with the smallest mean difference. Largest"
        yield "difference: over all voxels of all volumes, in raw units; 0 is exact; 1 in few voxels means that ties"
        yield "were rounded in another way (the suite rounds half away from zero, as MATLAB does)."
        yield ""
        yield "| folder | contrast | factors | degradation | largest difference | voxels that differ | gain | exact |"
        yield "|---|---|---|---|---|---|---|---|"
        for lr in self.lr_degradations:
            degradation = " or ".join(lr.recipes) if lr.exact else f"none found; nearest: {lr.recipes[0]}"
            cells = (
                lr.folder or ".",
                lr.contrast,
                _times(lr.factors),
                degradation,
                f"{lr.difference:.4g}",
                f"{100 * lr.differing:.2g}%",
            )
            yield f"| {' | '.join(cells)} | {lr.gain:.6g} | {lr.exact} of {lr.volumes} |"

    def warnings(self) -> list[str]:
        """Why the split cannot be used as it is."""
        lines = [
            f"The archive has no {fold} volumes that match, so the split has no {fold}. A protocol needs train, val "
            f"and test. Move subjects into {fold} by hand, and report this wherever you use the split."
            for fold in self.missing_folds()
        ]
        if conflicts := self.conflicts():
            lines.append(
                f"{len(conflicts)} subjects are in two folds of the archive ({', '.join(sorted(conflicts)[:5])}); "
                "no split is written. In a copy of the archive, remove their files from one fold, then run this again."
            )
        return lines


def _nearest(origin: VolumeOrigin) -> str:
    if origin.problem:
        return origin.problem
    if not origin.matches:
        return "shares no neighbourhood with any volume of the data set"
    best = origin.matches[0]
    return (
        f"nearest {best.subject} {best.contrast}, {100 * best.agreement:.3f} % of voxels equal, "
        f"axes {best.codes}, first voxel {best.start} (R, A, S)"
    )


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
