"""A folder of NIfTI files named <subject>-<contrast>.nii.gz (or .nii), anywhere below one directory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from mrsr_bench.volumes import Dataset, VolumeError


class Folder(Dataset):
    @cached_property
    def _files(self) -> dict[tuple[str, str], list[Path]]:
        found: dict[tuple[str, str], list[Path]] = {}
        for path in sorted((self.root or Path()).rglob("*")):
            stem = path.name.removesuffix(".gz").removesuffix(".nii")
            if stem == path.name or ".nii" not in path.suffixes[-2:] or "-" not in stem or path.name.startswith("."):
                continue
            subject, contrast = stem.rsplit("-", 1)
            found.setdefault((subject, contrast), []).append(path)
        return found

    def subjects(self) -> list[str]:
        return sorted({subject for subject, _ in self._files})

    def contrasts(self, subject: str) -> list[str]:
        return sorted(contrast for owner, contrast in self._files if owner == subject)

    def source(self, subject: str, contrast: str) -> Path:
        paths = self._files.get((subject, contrast), [])
        if not paths:
            expected = (self.root or Path()) / f"{subject}-{contrast}.nii.gz"
            raise VolumeError(expected, f"does not exist, nor in a subfolder; subject has {self.contrasts(subject)}")
        if len(paths) > 1:
            raise VolumeError(paths[0], f"stands for the same subject and contrast as {paths[1]}; keep one")
        return paths[0]
