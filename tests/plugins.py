"""Method files that tests write to disk: a small network, and the ways in which a plugin can misbehave."""

from __future__ import annotations

from pathlib import Path

NETWORK = '''"""A network of two layers (no paper)."""
import os
import signal
import torch
from torch import nn
from mrsr_bench.method import MethodOptions, TorchMethod


class Net(nn.Module):
    def __init__(self, scale, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.1),
                                  nn.Conv2d(width, scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self.scale, self.calls = scale, 0

    def forward(self, x):
        if self.training:
            self.calls += 1
            marker = os.environ.get("MRSR_TEST_KILL_ONCE")
            if marker and self.calls == 15 and not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            if os.environ.get("MRSR_TEST_SLOW"):
                import time
                time.sleep(0.2)
        return self.body(x) + nn.functional.interpolate(x, scale_factor=self.scale)


class Network(TorchMethod):
    class Options(MethodOptions):
        width: int = 8

    presets = {"wide": {"width": 16}}

    def build(self, task):
        return Net(task.scale, self.options.width)
'''

_CLASSICAL = '''"""{summary}"""
import os, signal, time
import numpy as np
from mrsr_bench.method import Method
{top}

class Plugin(Method):
    def upscale(self, scan, task):
        {body}
        return np.repeat(np.repeat(scan.array, task.scale, 1), task.scale, 2)

{more}
'''


def classical(body: str = "pass", top: str = "", more: str = "") -> str:
    """A nearest-neighbour method whose `upscale` first does `body`."""
    return _CLASSICAL.format(summary="A plugin for tests.", top=top, body=body, more=more)


SEGFAULT = classical("os.kill(os.getpid(), signal.SIGSEGV)")
HANG = classical("time.sleep(3600)")
RAISES = classical("raise RuntimeError('no such luck')")
NO_IMPORT = classical(top="import a_module_that_does_not_exist")
NEAREST = classical()


def write(folder: Path, **plugins: str) -> list[str]:
    """Write each plugin as <name>.py and give the paths, as `--methods` takes them."""
    for name, text in plugins.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return [str(folder / f"{name}.py") for name in plugins]
