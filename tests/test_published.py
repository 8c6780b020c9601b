"""Quoted figures: as the papers print them, from the paper that measured them, with their known errors."""

from __future__ import annotations

import pandas as pd
import pytest
from conftest import REFERENCE

from mrsr_bench.replication import published

FIGURE = ["degradation", "contrast", "scale", "method"]
REFERENCE_NAMES = {"edsr": "EDSR (C96)", "bicubic": "Bicubic"}


def figures(**chosen: object) -> pd.DataFrame:
    frame = published.load()
    for column, value in chosen.items():
        frame = frame[frame[column] == value]
    return frame


def test_every_figure_of_the_transcribed_tables_is_there_to_the_digit() -> None:
    ours = {(r.source, *(getattr(r, name) for name in FIGURE)): (r.psnr, r.ssim) for r in published.load().itertuples()}
    one = pd.read_csv(REFERENCE / "poan_table1.csv")
    for r in one.itertuples():
        method = REFERENCE_NAMES.get(r.method, r.method.upper())
        assert ours["POAN", r.degradation, r.modality, r.scale, method] == (r.psnr_db, r.ssim)
    every = pd.read_csv(REFERENCE / "published_ixi_sr.csv")
    for r in every.itertuples():
        source = r.source.split(",")[0].removesuffix(" Table IV").removesuffix(" (WACV 2023)")
        assert ours[source, r.degradation, r.modality, r.scale, r.method] == (r.psnr_db, r.ssim)
    ablations = 0
    for number in (2, 3):
        for r in pd.read_csv(REFERENCE / f"poan_table{number}.csv").itertuples():
            [row] = figures(table=f"Table {number}", method=f"POAN {r.method}").itertuples()
            assert (row.psnr, row.contrast, row.scale) == (r.psnr_db, r.modality, r.scale)
            ablations += 1
    assert len(ours) == len(published.load()) == len(one) + len(every[every.source != "POAN"]) + ablations


def test_every_figure_is_plausible_and_has_a_known_source() -> None:
    frame = published.load()
    assert set(frame.source) <= set(published.sources())
    assert set(frame.degradation) == set(published.DEGRADATIONS.values())
    assert set(frame.contrast) == {"PD", "T1", "T2"}
    assert set(frame.scale) == {2, 3, 4}
    assert frame.psnr.between(26, 42).all()
    assert frame.ssim.dropna().between(0.8, 1).all()
    assert set(frame[frame.ssim.isna()].table) == {"Table 2", "Table 3"}
    assert not frame.duplicated(["source", "table", *FIGURE]).any()


def test_bicubic_as_csn_prints_it_has_its_nine_cells() -> None:
    """What a calibration of the metric's convention compares with."""
    nine = figures(source="CSN", degradation="bicubic", method="Bicubic")
    assert len(nine) == 9
    assert nine.set_index(["contrast", "scale"]).loc[("PD", 2), ["psnr", "ssim"]].tolist() == [35.04, 0.9664]


def test_copies_equal_their_originals_but_for_the_typing_errors_that_are_listed() -> None:
    frame = published.load()
    copies, originals = (frame[frame.note.str.startswith(published.COPIED) == copied] for copied in (True, False))
    both = copies.merge(originals[originals.source == "CSN"], on=FIGURE, suffixes=("", "_original"))
    assert len(both) == len(copies) == 63
    wrong = both[(both.psnr != both.psnr_original) | (both.ssim != both.ssim_original)]
    errata = published.errata()
    typed = errata[errata.what.str.contains("prints the SSIM")].astype({"scale": int})
    assert set(wrong[FIGURE].itertuples(index=False)) == set(typed[FIGURE].itertuples(index=False))
    for row in wrong.itertuples():
        [what] = typed[typed.scale == row.scale].what
        assert f"{row.ssim}," in what
        assert what.endswith(f"{row.ssim_original}")


def test_a_copied_figure_is_quoted_from_the_paper_that_measured_it() -> None:
    quote = published.find("bicubic", "PD", "x3", "edsr")
    assert quote is not None
    assert (quote.source, quote.method, quote.values) == ("CSN", "EDSR (C96)", {"psnr": 34.39, "ssim": 0.9578})


@pytest.mark.parametrize(
    ("degradation", "contrast", "scale", "label", "expected"),
    [
        ("bicubic", "PD", "x2", "poan", ("POAN", {"psnr": 41.59, "ssim": 0.9901})),
        ("bicubic", "T2", "x4", "poan+", ("POAN", {"psnr": 32.83, "ssim": 0.9495})),
        ("truncation_csn", "T1", "x2", "bicubic", ("CSN", {"psnr": 33.38, "ssim": 0.946})),
        ("bicubic", "PD", "x2", "A-none", ("POAN", {"psnr": 36.45})),
        ("bicubic", "T1", "x4", "A-none", ("POAN", {"psnr": 26.71})),
        ("truncation_csn", "PD", "x2", "poan", None),
        ("bicubic-noise0.05", "PD", "x2", "bicubic", None),
        ("kspace", "PD", "x2", "bicubic", None),
        ("bicubic", "PD", "x4x1x1", "bicubic", None),
        ("bicubic", "MRA", "x2", "bicubic", None),
        ("bicubic", "PD", "x2", "linear", None),
        ("bicubic", "PD", "x2", "edsr-n10", None),
    ],
)
def test_a_figure_is_found_for_the_same_degradation_contrast_scale_and_method_only(
    degradation: str, contrast: str, scale: str, label: str, expected: tuple[str, dict[str, float]] | None
) -> None:
    quote = published.find(degradation, contrast, scale, label)
    assert (quote and (quote.source, quote.values)) == expected


def test_every_label_stands_for_a_method_that_is_quoted() -> None:
    assert set(published.METHODS.values()) <= set(published.load().method)


def test_known_errors_are_those_of_the_figures_asked_for() -> None:
    def of(contrast: str, scale: str, label: str) -> list[str]:
        quote = published.find("bicubic", contrast, scale, label)
        assert quote is not None
        return [error.partition(" ")[0] for error in published.known_errors([quote])]

    assert of("PD", "x2", "bicubic") == []
    assert of("PD", "x2", "srcnn") == ["(2)"]
    assert of("PD", "x3", "edsr") == ["(1)", "(3)"]
    assert of("PD", "x2", "poan") == ["(4)", "(6)"]
    assert of("T1", "x4", "poan+") == ["(5)", "(6)"]
    assert of("T1", "x4", "A-none") == ["(8)"]


@pytest.mark.parametrize("number", list(published.errata().number))
def test_an_erratum_concerns_figures_that_are_there_and_says_how_it_is_known(number: str) -> None:
    [row] = published.errata().set_index("number").loc[[number]].itertuples()
    frame = published.load().astype({"scale": str})
    for column in ("source", *FIGURE):
        if chosen := getattr(row, column):
            assert set(chosen.split(" | ")) <= set(frame[column])
            frame = frame[frame[column].isin(chosen.split(" | "))]
    assert len(frame)
    assert row.what
    assert row.evidence


def test_what_is_loaded_may_be_changed() -> None:
    frame = published.load()
    frame.loc[:, "method"] = "changed"
    assert "changed" not in set(published.load().method)
