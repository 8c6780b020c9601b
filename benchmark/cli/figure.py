"""Commands that draw figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import RECORDS, split_names

if TYPE_CHECKING:
    from ..figures.picture import Picture
    from ..reporting.table import Table


@click.group()
def figure() -> None:
    """Draw a figure for a paper, from plans, records and the slices that they keep: .pdf, .svg or .png.

    Figures are as wide as a journal's column (3.5 in) or page, readable in grey, with embedded fonts. The file's
    metadata name the protocol, the commit and the records behind it.

    \b
    bench figure quality -o quality.pdf
    """


def _drawing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every figure has."""
    for option in (
        RECORDS,
        click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: NAME.png here."),
        click.option("--protocol", help="Name, path or folder. Default: the protocol run last."),
    ):
        command = option(command)
    return command


def _write(
    name: str, protocol: str | None, results: Path, output: Path | None, draw: Callable[[Table], Picture]
) -> None:
    """Draw a figure of a protocol's table, write it, and say where it is."""
    from ..figures.picture import check_format, write_picture
    from ..reporting.table import build_table
    from ..store.results import Store

    path = output or Path(f"{name}.png")
    check_format(path)
    write_picture(draw(build_table(Store(results).view(protocol))), path)
    click.echo(path)


@figure.command()
@_drawing
@click.option("--cost", type=click.Choice(["macs", "parameters"]), default="macs", show_default=True)
def quality(protocol: str | None, results: Path, output: Path | None, cost: Any) -> None:
    """Quality against multiply-accumulates or parameters.

    A panel a row of the table. A point is the mean of the first metric over seeds, with their standard deviation. The
    grey line joins what is Pareto-optimal: nothing is as good at a lower cost. Methods without a count (bicubic,
    linear) are dotted levels. No axis shows seconds, which say as much of the machine as of the method; `bench table
    --efficiency` has the figures.

    \b
    bench figure quality -o quality.pdf
    bench figure quality --cost parameters --results mine.zip
    """
    from ..figures.quality import draw

    _write("quality", protocol, results, output, lambda table: draw(table, cost))


@figure.command()
@_drawing
@click.option("--over", type=click.Choice(["steps", "pixels"]), default="steps", show_default=True)
def curves(protocol: str | None, results: Path, output: Path | None, over: Any) -> None:
    """Training loss and validation PSNR over steps or LR pixels.

    Two panels a row of the table. A line is the mean over seeds, its band reaches from the least to the greatest seed.
    A loss is the mean of all steps since the point before. `--over pixels` counts LR pixels (steps × batch × slices ×
    patch²): use it where batches differ. Validation PSNR is of crops of the validation subjects, so it is not the
    figure of the table, and there is no line for bicubic or linear.

    \b
    bench figure curves -o curves.pdf
    bench figure curves --over pixels
    """
    from ..figures.curves import draw

    _write("curves", protocol, results, output, lambda table: draw(table, over))


@figure.command()
@_drawing
@click.option("--against", help="Column to compare the others with. Default: linear, where there is one.")
def subjects(protocol: str | None, results: Path, output: Path | None, against: str | None) -> None:
    """Differences from a baseline, a dot a test subject.

    A panel a row of the table. A dot is a subject: the first metric, mean over seeds, minus that of the baseline on the
    same subject. Below the dots are the 95 % intervals of `bench table`: the thick bar (i) is about these trained
    networks on other subjects, the thin one (ii) about the methods, trained again. Only (ii) supports "A is better than
    B"; it takes three seeds.

    \b
    bench figure subjects -o subjects.pdf
    bench figure subjects --against edsr
    """
    from ..figures.subjects import draw

    _write("subjects", protocol, results, output, lambda table: draw(table, against))


@figure.command()
@_drawing
def radial(protocol: str | None, results: Path, output: Path | None) -> None:
    """The error by radial frequency.

    A panel a row of the table: energy of the error in a band by that of the truth in the same band, log scale. At 1 the
    error is as large as the truth, as if nothing were predicted. Below the Nyquist frequency of LR, which is marked, LR
    holds the signal, attenuated and mixed with what was folded down; above it a method must infer it. Means over test
    subjects and seeds.

    \b
    bench figure radial -o radial.pdf
    """
    from ..figures.radial import draw

    _write("radial", protocol, results, output, draw)


@figure.command()
@_drawing
def ranks(protocol: str | None, results: Path, output: Path | None) -> None:
    """Methods by rank, and which cannot be told apart.

    A panel a row of the table, the best method first, with the standard deviation over seeds. Letters are those of
    `bench table`: methods without a common letter differ, by all pairs of the row (Holm at 5 %). A bar joins the
    methods of a letter: not told apart, which is not equal. Bold: not told from the best. Hollow: no claim, since it
    has too few seeds. A row whose subjects are no independent people has no claims.

    \b
    bench figure ranks -o ranks.pdf
    """
    from ..figures.ranks import draw

    _write("ranks", protocol, results, output, draw)


def _parse_region(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """Three whole numbers with commas between."""
    if value is None:
        return None
    try:
        row, column, size = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"expected ROW,COLUMN,SIZE in HR pixels, e.g. 60,80,48; got {value!r}") from None
    return row, column, size


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose what a figure with images shows."""
    for option in (
        click.option("--methods", callback=split_names, help="Columns, with commas. Default: all."),
        click.option(
            "--subject",
            "subjects",
            callback=split_names,
            help="Subjects, with commas. Default: the middle one of those kept.",
        ),
        click.option(
            "--rows",
            callback=split_names,
            help="Rows or words of them, with commas, e.g. 'T1 x2' or PD. Default: the last row of every contrast.",
        ),
    ):
        command = option(command)
    return command


@figure.command()
@_drawing
@click.option("--errors", is_flag=True, help="Add |prediction − HR|, on one colour scale for the figure.")
@click.option(
    "--region",
    callback=_parse_region,
    metavar="ROW,COLUMN,SIZE",
    help="What is enlarged, in HR pixels of the slice as it is shown. Default: where the methods differ most.",
)
@_choosing
def visual(protocol: str | None, results: Path, output: Path | None, **choice: Any) -> None:
    """A slice and an enlarged region of it: HR, LR and the prediction of every method, with its figures.

    Slices come from the exhibits that cells of the first seed keep, and lie as radiologists look at them. All images
    of a subject are shown in one window. Bold is what the table has in bold: a statement about the row, not about this
    image. The figure names the region that was chosen; give it with --region to keep it.

    \b
    bench figure visual -o visual.pdf
    bench figure visual --rows T1,PD --methods bicubic,edsr,poan --errors
    """
    from ..figures.visual import draw

    _write("visual", protocol, results, output, lambda table: draw(table, **choice))


@figure.command()
@_drawing
@_choosing
def attention(protocol: str | None, results: Path, output: Path | None, **choice: Any) -> None:
    """The maps that methods show of a slice, e.g. of POAN's attention, beside the LR slice.

    A method offers maps by `Method.maps`; cells keep them with their slices. Every map has a colour scale of its own.

    \b
    bench figure attention --methods poan -o attention.pdf
    """
    from ..figures.attention import draw

    _write("attention", protocol, results, output, lambda table: draw(table, **choice))
