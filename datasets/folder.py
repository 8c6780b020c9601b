"""A folder of NIfTI files named <subject>-<contrast>.nii.gz (or .nii), anywhere below one directory."""

from __future__ import annotations

from mrsr_bench.dataset import Dataset


class Folder(Dataset):
    @classmethod
    def identify(cls, name: str) -> tuple[str, str] | None:
        stem = name.removesuffix(".gz").removesuffix(".nii")
        subject, hyphen, contrast = stem.rpartition("-")
        return (subject, contrast) if hyphen else None
