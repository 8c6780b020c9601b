"""A notebook in a real Jupyter kernel: a run that says how far it is, and a table that shows itself."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded import Plan, fill_scores, view

from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.data_frames import frame_of
from mrsr_bench.reporting.table import build_table
from mrsr_bench.reporting.table_frame import table_frame
from mrsr_bench.store.results import Store

CELLS = [
    "import mrsr_bench",
    "outcomes = mrsr_bench.run('small.yaml', ['bicubic', 'edsr'], data={data!r}, tracking_uri='none', threads=1)",
    "mrsr_bench.table()",
    "outcomes",
    "mrsr_bench.run('small.yaml', ['bicubic', 'edsr'], data={data!r}, tracking_uri='none', threads=1);",
]


@pytest.fixture
def filled(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """bicubic, linear and one seed of edsr; the description would be a script, were it not escaped."""
    methods = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}}
    path = write_protocol(methods=methods, description="<script>alert('&')</script>")
    plan = (Store(tmp_path / "results"), *plan_request(Request(str(path))))
    for label, level in (("bicubic", 30.0), ("linear", 32.0), ("edsr", 31.0)):
        fill_scores(plan, label, {f"s{number}": level + number / 10 for number in range(5)})
    return plan


def test_a_frame_shows_itself_with_letters_bold_figures_and_caption(filled: Plan) -> None:
    table = build_table(view(filled))
    frame = table_frame(table)
    html = frame._repr_html_()
    assert html is not None
    assert "<td><strong>32.20</strong><sup>a</sup>/<strong>0.9000</strong><sup>a</sup></td>" in html
    assert '<th scope="col">edsr<sup>1</sup></th>' in html
    assert "<caption" in html
    assert "n = 5 test subjects" in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
    assert "<script" not in html
    assert frame.attrs == {"caption": frame_of(table).attrs["caption"]}
    assert frame.equals(frame_of(table))


def test_what_is_computed_from_a_frame_is_a_plain_frame_and_a_changed_one_shows_its_own_figures(filled: Plan) -> None:
    frame = table_frame(build_table(view(filled)))
    assert {type(each) for each in (frame.T, frame * 2, frame.copy(), frame.iloc[:, :1])} == {pd.DataFrame}
    frame.loc[("T1", "x2"), ("edsr", "psnr")] = 99.0
    html = frame._repr_html_()
    assert html is not None
    assert "99.0" in html
    assert "<strong>" not in html


@pytest.mark.long
def test_a_notebook_runs_and_shows_progress_and_table(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    training = {"track": "equal", "steps": 150, "batch": 2, "lr_patch": 8, "augment": "dihedral", "lr": 1e-3}
    write_protocol(methods={"bicubic": {}, "edsr": {"preset": "tiny"}}, training=training)
    outputs, updates = run_notebook([cell.format(data=str(images)) for cell in CELLS], tmp_path)
    assert [output["output_type"] for output in outputs[1]] == ["display_data"], "one output, no stream, no warning"
    lines = outputs[1][0]["data"]["text/plain"].splitlines()
    assert lines[0] == "[1/2] bicubic T1 x2 bicubic seed 0"
    assert lines[2] == "[2/2] edsr T1 x2 bicubic seed 0"
    assert [line.split("  psnr")[0] for line in lines[1::2]] == ["    bicubic: done", "    edsr: done"]
    running = [update for update in updates if "step" in update.splitlines()[-1]]
    assert running, "it changed while the cell ran"
    assert all(update.startswith("[1/2] bicubic") for update in running)
    [shown] = outputs[2]
    assert "<sup>1</sup></th>" in shown["data"]["text/html"]
    assert "Protocol small, version 1" in shown["data"]["text/html"]
    assert "edsr T1 x2 bicubic seed 0" in outputs[3][0]["data"]["text/plain"]
    assert outputs[4][0]["data"]["text/plain"] == "2 cells are done and kept"


def run_notebook(cells: list[str], folder: Path) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Run cells in a kernel that starts in a folder. The outputs of every cell, and each text that an output had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nbformat
        from nbclient import NotebookClient

        updates: list[str] = []

        class Watching(NotebookClient):
            def process_message(self, msg: dict[str, Any], *rest: Any) -> Any:
                if msg["msg_type"] == "update_display_data":
                    updates.append(msg["content"]["data"]["text/plain"])
                return super().process_message(msg, *rest)

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
        Watching(notebook, timeout=240, kernel_name="python3").execute(cwd=str(folder), env=environment)
    return json.loads(json.dumps([cell.outputs for cell in notebook.cells])), updates
