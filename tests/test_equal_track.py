"""Track equal is equal: one loss, one rate for all layers, one start, the same LR pixels; and streams by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_protocol
from plugins import write
from safetensors.numpy import load_file
from test_protocol import dumped, problems
from test_runs import bench
from torch import nn

from mrsr_bench import registry
from mrsr_bench.degradation import bicubic, bicubic_torch
from mrsr_bench.errors import BenchError
from mrsr_bench.method import Recipe, Task, TorchMethod
from mrsr_bench.methods.poan import POAN
from mrsr_bench.methods.srcnn import SRCNN
from mrsr_bench.planning.cells import Training, plan_trainings
from mrsr_bench.protocol.loading import load
from mrsr_bench.running.fitting import stream_seed
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.testing.trial import SyntheticSamples, Trial, scan_of
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.complexity import count_macs, count_parameters
from mrsr_bench.training.loop import train
from mrsr_bench.training.setup import TrainingSetup, parameter_groups

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = [registry.load_method(source) for source in registry.methods().values()]
NETWORKS: dict[str, TorchMethod] = {cls.__name__: cls("tiny") for cls in CLASSES if issubclass(cls, TorchMethod)}
NETWORKS["POAN, tail espcn"] = POAN("tiny", tail="espcn")
BUDGET = {"track": "equal", "steps": 30, "batch": 2, "lr_patch": 8, "augment": "dihedral", "lr": 1e-3}
METHODS = {
    "bicubic": {},
    "linear": {},
    "srcnn": {"preset": "tiny"},
    "vdsr": {"preset": "tiny"},
    "edsr": {"preset": "tiny"},
}


def start_at(scale: int) -> Task:
    return Task((1, scale, scale), start="bicubic")


class Silent:
    """A `Run` to which nobody listens."""

    scratch, should_stop = Path(), False

    def report(self, step: int, **values: float) -> None:
        pass


def trained(method: TorchMethod, task: Task, folder: Path, **setup: Any) -> TorchMethod:
    """One step by the suite's loop on two synthetic samples."""
    data = SyntheticSamples(Trial(type(method), factors=task.factors).pairs)
    recipe = method.recipe.model_copy(update={"steps": 1, "batch": 2, "micro_batch": None, "lr": 1e-3})
    folder.mkdir(exist_ok=True)
    train(TrainingSetup(method, task, recipe, data, [*data.volumes()], 1, **setup), Silent(), checkpoints(folder))
    return method


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(WorkFolder(folder), "equal")


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., list[Training]]:
    """The trainings of a protocol with these training settings."""
    (tmp_path / "split.csv").write_text("subject,fold\nanna,train\nbert,val\ncarl,test\n", encoding="utf-8")

    def make(methods: dict[str, Any] = METHODS, changes: dict[str, Any] | None = None, **settings: Any) -> Any:
        training = {**BUDGET, **settings} if settings.get("track") != "published" else settings
        content = small_protocol(methods=methods, training=training, **(changes or {}))
        return plan_trainings(load(str(dumped(tmp_path, content, "equal.yaml"))))

    return make


def by_label(trainings: list[Training]) -> dict[str, Training]:
    return {training.base.label: training for training in trainings}


# --- One start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_network_starts_as_bicubic_and_a_step_of_training_changes_it(
    name: str, scale: int, tmp_path: Path
) -> None:
    method, lr = NETWORKS[name], torch.rand(2, 1, 9, 12, generator=torch.Generator().manual_seed(scale))
    exact = bicubic(lr.numpy().astype(np.float64), (9 * scale, 12 * scale))
    torch.manual_seed(0)
    network = method.make_network(start_at(scale)).eval()
    np.testing.assert_allclose(network(lr).detach(), exact, rtol=0, atol=2e-6)
    learned = trained(method, start_at(scale), tmp_path).network
    assert learned is not None
    assert 1e-5 < np.abs(learned.eval()(lr).detach().numpy() - exact).max() < 1


def test_the_first_weights_but_the_last_layers_are_those_without_the_start() -> None:
    for method in NETWORKS.values():
        torch.manual_seed(0)
        own = method.make_network(Task((1, 2, 2)))
        torch.manual_seed(0)
        network = method.make_network(start_at(2))
        zeros = {id(parameter) for parameter in method.output_layer(network).parameters()}
        assert len(zeros) in (1, 2), "weight, and bias where there is one"
        for (name, before), (same, after) in zip(own.named_parameters(), network.named_parameters(), strict=True):
            assert name == same
            assert torch.equal(torch.zeros_like(before) if id(after) in zeros else before, after)


def test_what_was_trained_from_bicubic_is_what_is_saved_loaded_and_used(tmp_path: Path) -> None:
    method, task = type(NETWORKS["EDSR"])("tiny"), start_at(2)
    lr = Trial(type(method)).lr
    output = trained(method, task, tmp_path).upscale(scan_of(lr), task)
    loaded, other = type(method)("tiny"), type(method)("tiny")
    loaded.load_state(method.state(), task)
    np.testing.assert_array_equal(loaded.upscale(scan_of(lr), task), output)
    other.load_state(method.state(), replace(task, start="own"))
    shape = task.hr_shape(lr.shape)
    np.testing.assert_allclose(
        output - other.upscale(scan_of(lr), task), bicubic(lr.astype(np.float64), shape), rtol=0, atol=2e-3
    )


def test_the_bicubic_image_that_is_added_is_counted_and_has_no_parameters() -> None:
    products = 2 * 24 * 24 * 24 + 2 * 2 * 24 * 24 * 24
    for name, added in (("EDSR", products), ("SRCNN", products), ("VDSR", 0), ("CSN", 0)):
        method, own = NETWORKS[name], Task((1, 2, 2))
        assert count_macs(method, start_at(2)) - count_macs(method, own) == added
        assert count_parameters(method, start_at(2)) == count_parameters(method, own)


def test_the_bicubic_image_keeps_its_precision_under_autocast() -> None:
    network, lr = NETWORKS["EDSR"].make_network(start_at(2)), torch.rand(1, 1, 9, 12)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(lr), bicubic_torch(lr, (18, 24)))
        assert bicubic_torch(lr, (18, 24)).dtype == torch.float32


def test_a_network_without_a_convolution_must_name_its_output_layer() -> None:
    with pytest.raises(BenchError, match="Linear has no convolution; define output_layer in the method"):
        SRCNN().output_layer(nn.Linear(2, 2))


class Nearest(SRCNN):
    """Adds an image of its own, which is neither 0 nor bicubic."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) + x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    def build(self, task: Task) -> Any:
        return self.Network()

    def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
        return TorchMethod.parameter_groups(self, network)


def test_a_training_from_bicubic_that_would_begin_elsewhere_fails(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"differs from bicubic by up to .* see adds_bicubic and output_layer"):
        trained(Nearest(), start_at(2), tmp_path)
    trained(Nearest(), Task((1, 2, 2)), tmp_path)


def test_the_task_and_the_recipe_of_every_network_know_the_start(plan: Callable[..., list[Training]]) -> None:
    for training in plan(start="bicubic"):
        network = training.recipe is not None
        assert training.task.start == ("bicubic" if network else "own")
        assert network is (training.base.label not in ("bicubic", "linear"))
        if training.recipe is not None:
            assert training.resolved["recipe"]["start"] == "bicubic"
    for training in plan():
        assert training.task.start == "own"
        assert "start" not in (training.resolved["recipe"] or {})


# --- One loss, one rate, the same pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "loss"), [({}, "l1"), ({"loss": "mse"}, "mse")])
def test_the_loss_is_one_for_all_networks(
    plan: Callable[..., list[Training]], given: dict[str, Any], loss: str
) -> None:
    assert {training.recipe.loss for training in plan(**given) if training.recipe} == {loss}


def test_a_methods_rates_for_single_layers_are_for_track_published_alone(plan: Callable[..., list[Training]]) -> None:
    equal = by_label(plan())
    published = by_label(plan(track="published"))
    for label in ("srcnn", "vdsr", "edsr"):
        for trainings in (equal, published):
            method, recipe = trainings[label].make_method(), trainings[label].recipe
            assert isinstance(method, TorchMethod)
            assert recipe is not None
            groups = parameter_groups(method, method.make_network(trainings[label].task), recipe)
            scaled = [group for group in groups if "lr_scale" in group]
            assert len(scaled) == (label == "srcnn" and trainings is published)
            assert ("one_rate" in recipe.model_dump()) is (label == "srcnn" and trainings is equal)
    assert published["srcnn"].recipe == SRCNN.recipe


def test_the_rates_that_groups_give_as_such_are_ignored_too() -> None:
    class Grouped(SRCNN):
        def parameter_groups(self, network: nn.Module) -> list[dict[str, Any]]:
            return [{"params": list(network.parameters()), "lr": 1e-5, "weight_decay": 0.1}]

    method = Grouped()
    [group] = parameter_groups(method, method.make_network(Task((1, 2, 2))), Recipe(one_rate=True))
    assert group.keys() == {"params", "weight_decay"}


def test_a_network_whose_samples_are_several_slices_takes_no_part(plan: Callable[..., list[Training]]) -> None:
    methods = {"edsr": {"preset": "tiny"}, "deep": {"method": "edsr", "preset": "tiny", "options": {"slices": 2}}}
    equal = by_label(plan(methods))
    assert equal["edsr"].unsupported is None
    assert equal["deep"].unsupported is not None
    assert "its samples have 2 slices; in track equal all networks train on the same LR" in equal["deep"].unsupported
    assert by_label(plan(methods, track="published"))["deep"].unsupported is None


@pytest.mark.parametrize("setting", [{"loss": "l1"}, {"start": "bicubic"}])
def test_loss_and_start_are_settings_of_track_equal(tmp_path: Path, setting: dict[str, str]) -> None:
    (tmp_path / "split.csv").write_text("subject,fold\nanna,train\nbert,val\ncarl,test\n", encoding="utf-8")
    path = dumped(tmp_path, small_protocol(training={"track": "published", **setting}), "published.yaml")
    [(line, key, message)] = problems(path)
    assert (line, key) == ("training:", "training")
    assert message.endswith(f"remove {next(iter(setting))}")


# --- Streams ---------------------------------------------------------------------------------------------------------


def test_streams_by_row_differ_between_rows_and_seeds_and_are_those_of_all_methods_of_a_row(
    plan: Callable[..., list[Training]],
) -> None:
    degradations = [{"name": "bicubic", "round": "none"}, {"name": "kspace", "round": "none"}]
    changes = {"seeds": [0, 1], "scales": [2, 3], "degradation": degradations}
    found: dict[tuple[Any, ...], set[int]] = {}
    for training in plan(changes=changes, streams="row"):
        cell = training.base
        row = cell.degradation.title, cell.contrast, cell.factors, cell.seed
        found.setdefault(row, set()).add(stream_seed(training))
        assert training.task.seed == cell.seed, "a method's own fit has the protocol's seed"
    assert all(len(seeds) == 1 for seeds in found.values())
    assert len(set.union(*found.values())) == len(found) >= 8


def test_without_streams_by_row_the_streams_are_those_of_the_seed(plan: Callable[..., list[Training]]) -> None:
    trainings = plan(changes={"seeds": [3, 5]})
    assert {stream_seed(training) for training in trainings if training.seeded} == {3, 5}
    assert all("streams" not in training.resolved for training in trainings)


def test_streams_by_row_are_for_either_track_and_recorded(plan: Callable[..., list[Training]]) -> None:
    trainings = by_label(plan(track="published", streams="row"))
    before = by_label(plan(track="published"))
    assert trainings["edsr"].resolved["streams"] == "row"
    assert trainings["edsr"].base.train_key != before["edsr"].base.train_key
    assert trainings["bicubic"].base.train_key == before["bicubic"].base.train_key


def test_a_training_takes_its_first_weights_from_its_stream(tmp_path: Path) -> None:
    def state(name: str, **setup: Any) -> dict[str, np.ndarray]:
        return trained(type(NETWORKS["EDSR"])("tiny"), Task((1, 2, 2)), tmp_path / name, **setup).state()

    plain, same, other = state("plain"), state("same", stream_seed=0), state("other", stream_seed=1)
    assert all(np.array_equal(plain[name], same[name]) for name in plain)
    assert not np.array_equal(plain["head.weight"], other["head.weight"])


PEEK = '''"""Keeps the first batch and the seed that it sees."""
import numpy as np
from mrsr_bench.method import Method

class Plugin(Method):
    def fit(self, task, train, val, run):
        self.seen = {"lr": train.batch(0)[0], "seed": np.array([task.seed])}

    def state(self):
        return self.seen

    def load_state(self, state, task):
        self.seen = state

    def upscale(self, scan, task):
        return np.repeat(np.repeat(scan.array, task.scale, 1), task.scale, 2)
'''


@pytest.mark.long
@pytest.mark.parametrize("streams", ["row", None])
def test_in_a_run_methods_of_a_row_see_the_same_patches_and_by_row_other_rows_see_others(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, streams: str | None
) -> None:
    """T1 and PD are the same images here, so that nothing but the streams can make the patches differ."""
    for path in images.glob("*-T1.nii.gz"):
        for contrast in ("T1", "PD"):
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / path.name.replace("T1", contrast)).symlink_to(path)
    training = {**BUDGET, "streams": streams} if streams else BUDGET
    data = {"dataset": "folder", "contrasts": ["T1", "PD"], "split": "split.csv", "plane": "axial"}
    protocol = write_protocol(data=data, training=training)
    bench(protocol, write(tmp_path, first=PEEK, second=PEEK), tmp_path / "data")
    seen = {
        (path.parts[-4], path.parts[-3]): load_file(path) for path in tmp_path.glob("results/**/weights.safetensors")
    }
    assert len(seen) == 4
    assert {int(state["seed"][0]) for state in seen.values()} == {0}
    for row in ("T1-x2", "PD-x2"):
        np.testing.assert_array_equal(seen[row, "first"]["lr"], seen[row, "second"]["lr"])
    same = np.array_equal(seen["T1-x2", "first"]["lr"], seen["PD-x2", "first"]["lr"])
    assert same is (streams is None)
