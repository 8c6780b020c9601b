"""Calibration: every figure against an independent implementation, and known answers are found on generated data."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mrsr_bench.datasets.folder import Folder
from mrsr_bench.degradation import BicubicDegradation, bicubic, degrade
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.replication.calibration import calibrate
from mrsr_bench.replication.calibration.conventions import (
    ROUNDINGS,
    Convention,
    all_figures,
    conventions,
    subject_figures,
)
from mrsr_bench.replication.calibration.explain import (
    PublishedFigure,
    agreements,
    draws,
    mahalanobis,
    published_figures,
)
from mrsr_bench.replication.calibration.report import name, verdict
from mrsr_bench.replication.published import load
from mrsr_bench.scoring.score import Case, score
from mrsr_bench.volumes import Volume, centre_crop, to_plane

CROP = (12, 24, 24)
CONTRASTS = {"PD": "axial", "T1": "sagittal", "T2": "axial"}
CELLS = [
    PublishedFigure(metric, contrast, scale)
    for metric in ("psnr", "ssim")
    for contrast in CONTRASTS
    for scale in (2, 3, 4)
]


def image(seed: int, shape: tuple[int, int, int] = (26, 28, 26)) -> np.ndarray:
    """An int16 image with a dark part, so that bicubic undershoots 0, and a different maximum in every slice."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=shape), 1.2) * 2000 + random.normal(0, 20, shape)
    bright = np.linspace(0.4, 1.2, shape[0])[:, None, None] * np.linspace(0.7, 1.1, shape[2])
    return np.maximum(np.round(smooth * bright), 0).astype(np.int16)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root = tmp_path_factory.mktemp("people")
    for number, subject in enumerate(["IXI001-Guys-0001", "IXI002-Guys-0002", "IXI003-HH-0003", "IXI004-IOP-0004"]):
        for offset, contrast in enumerate(CONTRASTS):
            write_image(root / f"{subject}-{contrast}.nii.gz", image(10 * number + offset))
    return Folder(root)


def plain_figures(people: Folder, subject: str, contrast: str, scale: int, of: Convention) -> tuple[float, float]:
    """PSNR and SSIM of bicubic by scikit-image, slice by slice."""
    volume = centre_crop(to_plane(people.load(subject, contrast), CONTRASTS[contrast]), CROP)
    truth = volume.data.astype(float)
    low = degrade(truth, "bicubic", (1, scale, scale))
    clips, rounds = of.rounding in ("stored", "clipped"), of.rounding in ("stored", "stored_unclipped")
    low = volume.grid.apply(low, "stored_unclipped") if rounds else low
    up = np.rint(bicubic(np.maximum(low, 0) if clips else low, truth.shape))
    up = np.maximum(up, 0) if clips else up
    spans = {
        "volume_minmax": [np.ptp(truth)] * len(truth),
        "volume_max": [truth.max()] * len(truth),
        "slice_minmax": [np.ptp(one) for one in truth],
    }[of.range]
    if of.pool == "slices":
        psnr = np.mean([peak_signal_noise_ratio(t, p, data_range=r) for t, p, r in zip(truth, up, spans, strict=True)])
    else:
        psnr = -10 * np.log10(np.mean([np.mean((t - p) ** 2) / r**2 for t, p, r in zip(truth, up, spans, strict=True)]))
    window: dict[str, Any] = {"win_size": 7}
    if of.window.startswith("gaussian"):
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(truth, up, spans, strict=True) if of.window.endswith("2-D") else [(truth, up, spans[0])]
    found = [structural_similarity(t, p, data_range=r, full=True, **window) for t, p, r in pairs]
    ssim = np.mean([mean if of.map == "cropped" else np.mean(full) for mean, full in found])
    return float(psnr), float(ssim)


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def figures(people: Folder) -> pd.DataFrame:
    return subject_figures(people, "IXI003-HH-0003", CROP).set_index(["contrast", "scale", "rounding"])


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_convention_is_that_of_an_independent_implementation(
    people: Folder, figures: pd.DataFrame, rounding: str
) -> None:
    chosen = [one for one in conventions() if one.rounding == rounding]
    assert len(chosen) == 32
    for one in chosen:
        psnr, ssim = plain_figures(people, "IXI003-HH-0003", "T1", 3, one)
        row = figures.loc["T1", 3, rounding]
        assert row[one.psnr] == pytest.approx(psnr, abs=1e-9), one
        assert row[one.ssim] == pytest.approx(ssim, abs=1e-9), one


def test_the_suite_scores_the_same_under_a_protocols_settings(people: Folder, figures: pd.DataFrame) -> None:
    volume = centre_crop(to_plane(people.load("IXI003-HH-0003", "PD"), "axial"), CROP)
    low = volume.grid.apply(degrade(volume.data, "bicubic", (1, 2, 2)), "stored")
    metrics = {
        "psnr": {"range": "volume_minmax"},
        "ssim": {"range": "volume_max", "window": "uniform7", "map": "whole"},
    }
    case = Case(volume.data, low, volume.grid, BicubicDegradation())
    found = score(bicubic(low, CROP), case, ScoringSpec(round="stored", metrics=metrics))
    row = figures.loc["PD", 2, "stored"]
    assert row["psnr/volume/volume_minmax"] == pytest.approx(found["psnr"])
    assert row["ssim/uniform7 2-D/volume_max/whole"] == pytest.approx(found["ssim"])


def test_all_conventions_give_different_figures_where_data_allow_it(figures: pd.DataFrame) -> None:
    """Were one setting ignored, two columns or rows would be equal. Here the minimum is 0, so two ranges are one."""
    distinct = [one for one in conventions() if one.range != "volume_max"]
    pairs = [
        tuple(float(figures.loc["T2", 2, one.rounding][column]) for column in (one.psnr, one.ssim)) for one in distinct
    ]
    assert len(set(pairs)) == len(pairs) == 80


def test_a_blank_and_an_exact_slice_are_left_out_and_counted() -> None:
    random = np.random.default_rng(0)
    truth = np.round(random.uniform(0, 900, (14, 16, 16)))
    prediction = truth + np.round(random.normal(0, 9, truth.shape))
    whole = all_figures(prediction[2:], truth[2:])
    truth[0] = prediction[0] = 7  # blank, and exact
    prediction[1] = truth[1]
    found = all_figures(prediction, truth)
    assert (whole["left_out"], found["left_out"]) == (0, 2)
    assert found["psnr/slices/slice_minmax"] == pytest.approx(whole["psnr/slices/slice_minmax"])
    assert all(np.isfinite(value) for value in found.values())


# --- draws and distances -------------------------------------------------------------------------------------------

NAMES = [f"IXI{n:03d}-{'Guys' if n % 5 < 3 else 'HH' if n % 5 == 3 else 'IOP'}-0001" for n in range(150)]


def test_a_set_holds_nobody_twice_and_keeps_the_sites_shares() -> None:
    weights = draws(NAMES, 300)
    assert weights.shape == (300, 150)
    assert set(np.unique(weights)) == {0, 1 / 70}
    by_site = {
        site: sum((weights[:, i] > 0).astype(int) for i, one in enumerate(NAMES) if site in one)
        for site in ("Guys", "HH", "IOP")
    }
    assert {site: set(numbers.tolist()) for site, numbers in by_site.items()} == {"Guys": {42}, "HH": {14}, "IOP": {14}}
    assert np.abs(weights.mean(axis=0) - 1 / 150).max() < 0.003
    assert not np.array_equal(weights, draws(NAMES, 300, seed=1))


@pytest.mark.parametrize("n", [1, 2, 69, 70])
def test_few_subjects_are_drawn_with_replacement(n: int) -> None:
    weights = draws(NAMES[:n], 50)
    assert weights.sum(axis=1) == pytest.approx(np.ones(50))
    assert weights.max() > 1.5 / 70


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_distance_is_that_of_the_textbook_and_p_its_rank(seed: int) -> None:
    random = np.random.default_rng(seed)
    means = random.normal(size=(400, 3)) * (1, 5, 0.2)
    means[:, 1] += means[:, 0]
    distance, p = mahalanobis(means[17], means, np.zeros(3), 10**12)
    around = means - means.mean(axis=0)
    plain = np.sqrt(np.einsum("ni,ij,nj->n", around, np.linalg.inv(np.cov(means.T)), around))
    assert distance == pytest.approx(plain[17], rel=1e-6)
    assert p == pytest.approx(np.mean(plain >= plain[17]), abs=1 / 400)
    assert mahalanobis(means.mean(axis=0), means, np.zeros(3), 50) == (pytest.approx(0, abs=1e-9), 1)


def test_p_rules_out_a_set_drawn_by_chance_as_seldom_as_it_says() -> None:
    random = np.random.default_rng(3)
    table = random.normal(size=(150, 6)) @ random.normal(size=(6, 6))
    means, targets = (draws(NAMES, number, seed=number) @ table for number in (3000, 300))
    found = np.array([mahalanobis(target, means, np.zeros(6), 150)[1] for target in targets])
    assert 0.02 < np.mean(found < 0.05) < 0.09
    assert 0.44 < np.mean(found < 0.5) < 0.56


# --- generated figures, the answer known ---------------------------------------------------------------------------


def generated(seed: int) -> pd.DataFrame:
    """Figures of 150 subjects: a subject's own level, common to its cells, an effect of every word, a little noise."""
    random = np.random.default_rng(seed)
    columns = sorted({column for one in conventions() for column in (one.psnr, one.ssim)})
    effect = {word: random.normal(size=(3, 3)) for word in (*columns, *ROUNDINGS)}
    level = random.normal(size=len(NAMES))
    rows = []
    for (c, contrast), (s, scale), rounding in itertools.product(enumerate(CONTRASTS), enumerate((2, 3, 4)), ROUNDINGS):
        part = pd.DataFrame({"subject": NAMES, "contrast": contrast, "scale": scale, "rounding": rounding})
        for column in columns:
            shift, noise = (effect[column] + effect[rounding])[c, s], random.normal(size=len(NAMES))
            psnr, ssim = 36 - 3 * s + 1.5 * level, 0.95 - 0.04 * s + 0.01 * level
            of_psnr = column.startswith("psnr")
            part[column] = psnr + 0.3 * shift + 0.2 * noise if of_psnr else ssim + 0.004 * shift + 0.002 * noise
        rows.append(part)
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return generated(0)


def printed(table: pd.DataFrame, one: Convention, subjects: list[str]) -> dict[PublishedFigure, float]:
    """The published figures of a test set under one convention, with as many digits as are printed."""
    part = table[table["subject"].isin(subjects) & (table["rounding"] == one.rounding)]
    means = part.groupby(["contrast", "scale"])[[one.psnr, one.ssim]].mean()
    columns = {"psnr": (one.psnr, 2), "ssim": (one.ssim, 4)}
    return {
        c: round(float(means.loc[(c.contrast, c.scale), columns[c.metric][0]]), columns[c.metric][1]) for c in CELLS
    }


@pytest.mark.parametrize("number", [0, 41, 127])
def test_the_convention_that_figures_were_made_under_comes_first(table: pd.DataFrame, number: int) -> None:
    truth = conventions()[number]
    weights = draws(NAMES, 500)
    ranked = agreements(table, printed(table, truth, NAMES), weights)
    assert len(ranked) == 128
    assert ranked[0].names == (truth,)
    assert ranked[0].explains
    assert not any(fit.explains for fit in ranked[1:])
    assert "One convention explains the published figures" in verdict(ranked, 150)[0]
    assert name(ranked[0]) in verdict(ranked, 150)[0]


def test_figures_of_another_kind_are_explained_by_nothing(table: pd.DataFrame) -> None:
    """Only the differences between scales are wrong, by less than subjects differ."""
    truth = conventions()[41]
    figures = printed(table, truth, NAMES)
    figures |= {cell: value + 0.3 for cell, value in figures.items() if cell.metric == "psnr" and cell.scale == 3}
    ranked = agreements(table, figures, draws(NAMES, 500))
    assert not any(fit.explains for fit in ranked)
    assert min(fit.contrast_p for fit in ranked) == 0
    text = "\n".join(verdict(ranked, 150))
    assert "None of the conventions explains the published figures" in text
    assert name(ranked[0]) in text


def test_conventions_that_data_cannot_tell_apart_share_a_rank(table: pd.DataFrame) -> None:
    """Equal in every figure, as ranges are where the minimum is 0; and apart, but both near."""
    table = table.copy()
    for column in table.columns[table.columns.str.contains("volume_minmax")]:
        table[column.replace("volume_minmax", "volume_max")] = table[column]
    table["psnr/slices/volume_minmax"] = table["psnr/slices/volume_max"] = table["psnr/volume/volume_max"] + 1e-4
    truth = Convention("volume", "volume_minmax", "gaussian11 2-D", "whole", "stored")
    ranked = agreements(table, printed(table, truth, NAMES), draws(NAMES, 500))
    assert {one.range for one in ranked[0].names} == {"volume_minmax", "volume_max"}
    assert len([fit for fit in ranked if fit.explains]) == 2
    text = "\n".join(verdict(ranked, 150))
    assert "4 conventions explain the published figures and cannot be told apart" in text
    assert "range volume_minmax = volume_max" in text


def test_the_published_figures_are_csns_eighteen() -> None:
    cells = published_figures(load())
    assert list(cells) == CELLS
    assert cells[PublishedFigure("psnr", "PD", 2)] == 35.04
    assert cells[PublishedFigure("ssim", "T2", 4)] == 0.8611


# --- from volumes to the page --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(people: Folder) -> pd.DataFrame:
    """A 'published' table of the four people, by independent code under a known convention."""
    rows = []
    for contrast, scale in itertools.product(CONTRASTS, (2, 3, 4)):
        found = [plain_figures(people, subject, contrast, scale, TRUE) for subject in people.subjects()]
        psnr, ssim = np.mean(found, axis=0)
        rows.append(["CSN", "bicubic", contrast, scale, "Bicubic", round(psnr, 2), round(ssim, 4)])
    return pd.DataFrame(rows, columns=["source", "degradation", "contrast", "scale", "method", "psnr", "ssim"])


TRUE = Convention("slices", "slice_minmax", "uniform7 2-D", "cropped", "stored_unclipped")


@pytest.mark.long
def test_a_whole_run_finds_the_convention_and_a_second_one_scores_nothing(
    people: Folder, published: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrsr_bench.replication.calibration.draws", lambda subjects: draws(subjects, 500))
    write_image(tmp_path / "small" / "IXI005-HH-0005-PD.nii.gz", image(3, (20, 20, 12)))
    for path in people.root.iterdir() if people.root else ():
        (tmp_path / "small" / path.name).symlink_to(path)
        if "IXI004" in path.name and "PD" not in path.name:
            (tmp_path / "small" / path.name.replace("IXI004-IOP-0004", "IXI005-HH-0005")).symlink_to(path)
    said: list[str] = []
    text = calibrate(Folder(tmp_path / "small"), tmp_path, said.append, published, CROP)
    assert "4 subjects (2 Guys, 1 HH, 1 IOP); the published test is 70 of 576. 1 left out." in text
    assert "4 subjects are too few" in text
    [first] = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert "| slices | slice_minmax | uniform7 2-D | cropped | stored_unclipped |" in first
    assert "- IXI005-HH-0005: " in text
    assert "is smaller than the crop" in text
    assert (tmp_path / "calibration.md").read_text(encoding="utf-8") == text
    ranks = pd.read_csv(tmp_path / "calibration.csv")
    assert len(ranks) == 128
    assert ranks.iloc[0]["rounding"] == "stored_unclipped"

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "subjects").iterdir()}
    assert len(kept) == 4
    again: list[str] = []
    for path in (tmp_path / "small").glob("IXI005*"):
        path.unlink()
    assert "0 left out" in calibrate(Folder(tmp_path / "small"), tmp_path, again.append, published, CROP)
    assert again == ["4 subjects: 4 are scored already, 0 are left to score"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "subjects").iterdir()} == kept


def test_data_without_the_contrasts_or_sites_are_refused_before_any_work(tmp_path: Path) -> None:
    write_image(tmp_path / "anna-T1.nii.gz", image(0))
    with pytest.raises(UsageError, match="no subject has all of PD, T1, T2"):
        calibrate(Folder(tmp_path), tmp_path / "out", print)
    for contrast in ("PD", "T2"):
        write_image(tmp_path / f"anna-{contrast}.nii.gz", image(1))
    with pytest.raises(UsageError, match="'anna' has no site"):
        calibrate(Folder(tmp_path), tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_where_no_subject_can_be_used_each_is_named(tmp_path: Path) -> None:
    for contrast in CONTRASTS:
        write_image(tmp_path / f"IXI001-HH-0001-{contrast}.nii.gz", image(0, (6, 6, 6)))
    with pytest.raises(BenchError, match=r"no subject can be used:\nIXI001-HH-0001: .*smaller than the crop"):
        calibrate(Folder(tmp_path), tmp_path / "out", print)


def test_a_volume_with_negative_values_is_never_clipped(tmp_path: Path) -> None:
    for contrast in CONTRASTS:
        write_image(tmp_path / f"IXI001-HH-0001-{contrast}.nii.gz", image(0) - np.int16(40))
    found = subject_figures(Folder(tmp_path), "IXI001-HH-0001", CROP).set_index(["contrast", "scale", "rounding"])
    for contrast, scale in itertools.product(CONTRASTS, (2, 3, 4)):
        of = found.loc[contrast, scale]
        assert of.loc["stored"].equals(of.loc["stored_unclipped"])
        assert of.loc["clipped"].equals(of.loc["none"])
        assert not of.loc["stored"].equals(of.loc["none"])


class Deadly(Folder):
    """A data set whose reading kills the process that reads."""

    def load(self, subject: str, contrast: str) -> Volume:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


def test_a_process_that_is_killed_is_said_and_leaves_no_figures(people: Folder, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"killed from outside.*run the same command again"):
        calibrate(Deadly(people.root), tmp_path, print)
    assert list((tmp_path / "subjects").iterdir()) == []
