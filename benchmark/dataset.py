"""The contract of a data set: what someone who adds one reads and subclasses."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from .volumes import Volume, VolumeError, read_nifti

_IMAGE = re.compile(r"[^.].*\.nii(\.gz)?", re.DOTALL)


@dataclass(frozen=True)
class Archive:
    """A tar as a data set's publisher serves it."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    contrast: str
    """The contrast of its members."""


class Dataset(ABC):
    """The contract of a data set: one file in `datasets/` that defines one subclass.

    Subjects are people (or parts of an image that take their place); all contrasts of a subject are in one fold of a
    split. Volumes are NIfTI files anywhere below the root, and `identify` tells whose each is; any other kind of data
    set overrides `subjects`, `contrasts` and `source`. The rest is published information, for download and audit.
    """

    needs_root: ClassVar[bool] = True
    """False where the volumes come with an installed package."""
    licence: ClassVar[str] = ""
    """Its licence, and whom to acknowledge."""
    independent: ClassVar[bool] = True
    """Whether subjects are independent people: only then do tables carry intervals and claims."""
    shareable: ClassVar[bool] = False
    """Whether the licence allows passing on the images: `bench pack` then includes the slices that records keep."""
    address: ClassVar[str] = ""
    """Where `archives` are served: the address of an archive is this and its name."""
    archives: ClassVar[tuple[Archive, ...]] = ()
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Numbers of subjects as published: a contrast, 'all contrasts' or 'usable' → site, '' for all sites → number."""
    defects: ClassVar[Mapping[tuple[str, str], str]] = {}
    """(subject, contrast) → its known defect."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    @classmethod
    @abstractmethod
    def identify(cls, name: str) -> tuple[str, str] | None:
        """(subject, contrast) of a file's name; None for a file that is not of this data set."""

    @classmethod
    def published(cls) -> Mapping[str, tuple[str, ...]]:
        """Subject → contrasts, as published; empty where there is no such list."""
        return {}

    @classmethod
    def usable(cls) -> list[str]:
        """The published subjects that have the contrasts of all archives and no known defect, sorted."""
        needed, defective = {archive.contrast for archive in cls.archives}, {subject for subject, _ in cls.defects}
        complete = [name for name, contrasts in cls.published().items() if needed and needed <= {*contrasts}]
        return sorted(set(complete) - defective)

    @classmethod
    def site(cls, subject: str) -> str:
        """Where the subject was scanned; empty where it is not known."""
        return ""

    @classmethod
    def unusual(cls, contrast: str, shape: Sequence[int], zooms: Sequence[float], codes: str) -> str:
        """What is unusual in a file's shape, voxel distances (mm) and axis codes (e.g. 'PSR'), or ''."""
        return ""

    @cached_property
    def images(self) -> list[Path]:
        """Every file below the root with the name of a NIfTI image, sorted, without hidden files.

        A folder with such a name counts too, unless there are images in it. Raises VolumeError for a folder that cannot
        be listed: its images would be missing without a message.
        """

        def stop(error: OSError) -> None:
            raise VolumeError(error.filename, f"cannot be listed: {error.strerror}") from error

        files, image_folders = [], []
        for folder, folders, names in os.walk(self.root or Path(), onerror=stop, followlinks=True):
            files += [Path(folder, name) for name in names if _IMAGE.fullmatch(name)]
            image_folders += [Path(folder, name) for name in folders if _IMAGE.fullmatch(name)]
        parents = {parent for path in files for parent in path.parents}
        return sorted([*files, *(folder for folder in image_folders if folder not in parents)])

    @cached_property
    def _files(self) -> dict[tuple[str, str], list[Path]]:
        files: dict[tuple[str, str], list[Path]] = {}
        for path in self.images:
            if (owner := self.identify(path.name)) is not None:
                files.setdefault(owner, []).append(path)
        return files

    def subjects(self) -> list[str]:
        """Every subject that has files, sorted."""
        return sorted({subject for subject, _ in self._files})

    def contrasts(self, subject: str) -> list[str]:
        """The subject's contrasts, sorted."""
        return sorted(contrast for owner, contrast in self._files if owner == subject)

    def source(self, subject: str, contrast: str) -> Path:
        """The file that the volume is read from; the key of a cache entry is over its bytes.

        Raises VolumeError where there is no such file, or more than one.
        """
        paths = self._files.get((subject, contrast), [])
        if not paths:
            expected = (self.root or Path()) / f"{subject}-{contrast}.nii.gz"
            raise VolumeError(
                expected, f"does not exist, nor in a subfolder; the subject has {self.contrasts(subject)}"
            )
        if len(paths) > 1:
            raise VolumeError(paths[0], f"has the same subject and contrast as {paths[1]}; remove one of the two")
        return paths[0]

    def load(self, subject: str, contrast: str) -> Volume:
        """The volume in RAS axes. Raises VolumeError where its file cannot be used."""
        return read_nifti(self.source(subject, contrast))
