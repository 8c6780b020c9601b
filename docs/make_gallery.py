"""Write docs/gallery.md and its pictures: every figure of the suite, drawn by its command from a committed pack.

    .venv/bin/python docs/make_gallery.py        1 minute
    .venv/bin/python docs/make_gallery.py visual --results other.zip

The commands name the committed packs; --results draws from other records instead. A picture has 256 colours and as many
pixels as fit into its bytes.
"""

from __future__ import annotations

import io
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner
from PIL import Image

from mrsr_bench.cli import main as bench
from mrsr_bench.system.files import atomic_file, write_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"
WIDTHS, MOST_BYTES = (1400, 1200, 1100, 1000, 900, 800, 700, 600), 200_000
"""Of a picture: widths in pixels, of which the first that fits is taken, and the bytes that it may have."""
PACK = "results/reference/ixi_midslice_equal.zip"


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    name: str
    command: str
    """What draws it, without -o."""
    caption: str


FIGURES = [
    Figure(
        "visual",
        f"bench figure visual --results {PACK}",
        "One slice of a subject as every method predicts it, with the region where the methods differ most enlarged. "
        "`--rows`, `--subject` and `--methods` choose, `--region` gives the region, `--errors` adds |prediction − HR|.",
    ),
    Figure(
        "errors",
        f"bench figure visual --results {PACK} --methods bicubic,linear,edsr,rdn,poan --errors",
        "The same with errors, of some methods.",
    ),
    Figure(
        "attention",
        f"bench figure attention --results {PACK}",
        "The maps that a method shows of a slice (`Method.maps`), here those of POAN's block.",
    ),
    Figure(
        "quality",
        f"bench figure quality --results {PACK}",
        "The first metric against multiply-accumulates, or parameters (`--cost parameters`). The line joins what is "
        "Pareto-optimal.",
    ),
    Figure(
        "curves",
        f"bench figure curves --results {PACK}",
        "Training loss and validation PSNR over steps, or LR pixels (`--over pixels`). A band: the range of seeds.",
    ),
    Figure(
        "subjects",
        f"bench figure subjects --results {PACK}",
        "The difference from a baseline (`--against`) on every test subject, with both intervals of "
        "[statistics.md](statistics.md).",
    ),
    Figure(
        "radial",
        f"bench figure radial --results {PACK}",
        "The energy of the error by that of the truth, by radial frequency.",
    ),
    Figure(
        "ranks",
        f"bench figure ranks --results {PACK}",
        "Methods by rank, with the letters and bars of what cannot be told apart.",
    ),
]
HEAD = """# Figures

Every figure of `bench figure`, each with its command. All are drawn from records and the slices that these keep: no
data set, no method and no torch are needed. A command writes .pdf, .svg or .png (`-o`); the pictures here are smaller
and have fewer colours. In Python: `mrsr_bench.figure("visual", results="mine.zip")`.

This page is made by `docs/make_gallery.py`.
"""


def page() -> str:
    """The text of the page, whatever pictures there are."""
    sections = [
        f"## {figure.name}\n\n{figure.caption}\n\n```bash\n{figure.command} -o {figure.name}.pdf\n```\n\n"
        f"![{figure.name}](gallery/{figure.name}.png)\n"
        for figure in FIGURES
    ]
    return "\n".join([HEAD, *sections])


def draw(figure: Figure, results: Path | None) -> None:
    """Write a figure's picture into docs/gallery."""
    words = [str(ROOT / word) if word.endswith(".zip") else word for word in shlex.split(figure.command)[1:]]
    if results is not None:
        words[words.index("--results") + 1] = str(results)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{figure.name}.png"
        done = CliRunner().invoke(bench, [*words, "-o", str(path)], catch_exceptions=False)
        if done.exit_code:
            raise click.ClickException(f"{figure.command}: {done.output}")
        image = Image.open(path).convert("RGB")
    content = next(content for width in WIDTHS if len(content := small_png(image, width)) <= MOST_BYTES)
    PICTURES.mkdir(exist_ok=True)
    with atomic_file(PICTURES / f"{figure.name}.png") as file:
        file.write(content)


def small_png(image: Image.Image, width: int) -> bytes:
    """The image as a PNG of that width, with 256 colours: 64 greys, and what it needs of others."""
    small = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    pixels = np.asarray(small)
    is_grey = np.ptp(pixels, axis=2) <= 8
    indices = np.rint(pixels.mean(axis=2) / 255 * 63).astype(np.uint8)
    palette = [round(255 * grey / 63) for grey in range(64) for _ in range(3)]
    if not is_grey.all():
        coloured = Image.fromarray(pixels[~is_grey][None]).quantize(192, Image.Quantize.MAXCOVERAGE)
        indices[~is_grey] = 64 + np.asarray(coloured)[0]
        palette += coloured.getpalette() or []
    reduced, content = Image.fromarray(indices, "L"), io.BytesIO()
    reduced.putpalette(palette)
    reduced.save(content, "png", optimize=True)
    return content.getvalue()


@click.command()
@click.argument("names", nargs=-1)
@click.option("--results", type=click.Path(path_type=Path, exists=True), help="Records to draw from, or a pack.")
def main(names: tuple[str, ...], results: Path | None) -> None:
    """Draw the figures called NAMES, by default all, and write the page."""
    write_text(PAGE, page())
    for figure in FIGURES:
        if not names or figure.name in names:
            draw(figure, results)
            click.echo(f"{figure.name}: {(PICTURES / f'{figure.name}.png').stat().st_size} bytes")


if __name__ == "__main__":
    main()
