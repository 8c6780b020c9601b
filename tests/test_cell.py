"""Settings that make cells of their own: degradations with options and noise, and labels with fewer subjects."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SUBJECTS, small_protocol

from mrsr_bench.errors import UsageError
from mrsr_bench.planning.cells import Training, plan_trainings
from mrsr_bench.protocol import loading as protocol

Write = Callable[..., Path]
SEVERAL = [
    {"name": "bicubic", "round": "stored"},
    {"name": "bicubic", "round": "stored", "noise": 0.05},
    {"name": "gaussian", "round": "stored", "options": {"fwhm": 1.5}},
    {"name": "kspace", "round": "stored", "options": {"part": "magnitude"}},
]


def planned(write_protocol: Write, **changes: Any) -> list[Training]:
    return plan_trainings(protocol.load(str(write_protocol(**changes))))


def test_every_variant_of_a_degradation_has_a_folder_and_keys_of_its_own(write_protocol: Write) -> None:
    trainings = planned(write_protocol, degradation=SEVERAL)
    folders = [str(training.base.folder) for training in trainings]
    titles = ["bicubic", "bicubic-noise0.05", "gaussian-fwhm1.5", "kspace-partmagnitude"]
    assert folders == [f"{title}/T1-x2/bicubic/seed0" for title in titles]
    assert len({training.base.train_key for training in trainings}) == 4
    assert {training.task.degradation for training in trainings} == {"bicubic", "gaussian", "kspace"}
    assert "bicubic-noise0.05" in str(trainings[1].base)


def test_a_setting_that_is_not_given_is_in_no_key(write_protocol: Write) -> None:
    """So a protocol keeps its digest, and its records their keys, when the suite learns a new setting."""
    [plain], [loaded] = planned(write_protocol), [protocol.load(str(write_protocol()))]
    assert set(plain.resolved["degradation"]) == {"name", "round"}
    assert {"pad", "grid", "train_subjects", "inference"}.isdisjoint(plain.resolved)
    assert "inference" not in loaded.resolved()
    assert {"pad", "grid"}.isdisjoint(loaded.resolved()["data"])
    assert {"train_subjects", "lr"}.isdisjoint(loaded.resolved()["methods"]["bicubic"])


@pytest.mark.parametrize(
    ("degradation", "message"),
    [
        ({"name": "gaussian", "round": "stored", "options": {"fhwm": 2}}, "options.fhwm: unknown key.*'fwhm'"),
        ({"name": "gaussian", "round": "stored", "options": {"fwhm": 0}}, "options.fwhm: .*greater than"),
        ({"name": "kspace", "round": "stored", "options": {"part": "phase"}}, "options.part: .*'real' or 'magnitude'"),
        ({"name": "bicubic", "round": "stored", "noise": -1}, "noise: .*greater than 0"),
        ({"name": "bicubic", "round": "half"}, "round: .*'stored_unclipped'"),
        ([SEVERAL[0], SEVERAL[0]], "'bicubic' appears twice"),
    ],
)
def test_a_wrong_setting_of_a_degradation_is_named_at_its_line(
    write_protocol: Write, degradation: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=r"small\.yaml:\d+: degradation.*" + message):
        planned(write_protocol, degradation=degradation)


def test_native_and_padded_volumes_are_in_the_keys(write_protocol: Write) -> None:
    data = {"dataset": "folder", "contrasts": ["T1"], "split": "split.csv", "plane": "axial", "crop": [2, 24, 24]}
    keys = set()
    for extra in ({}, {"pad": "zero"}, {"grid": "native"}, {"pad": "zero", "grid": "native"}):
        [training] = planned(write_protocol, data={**data, **extra})
        keys.add(training.base.train_key)
        assert {name: training.resolved[name] for name in extra} == extra
    assert len(keys) == 4


MANY = {"train": tuple(f"subject{number:02d}" for number in range(40)), "val": ("v",), "test": ("t",)}


def test_a_smaller_training_set_is_part_of_every_larger_one_whatever_the_files_order(write_protocol: Write) -> None:
    loaded = protocol.load(str(write_protocol(MANY)))
    sets = [set(loaded.train_subjects(number)) for number in (1, 5, 20, 40)]
    assert [len(names) for names in sets] == [1, 5, 20, 40]
    assert all(small < large for small, large in itertools.pairwise(sets))
    assert loaded.train_subjects(None) == MANY["train"]
    smallest = min(MANY["train"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert sets[0] == {smallest}
    turned = protocol.load(str(write_protocol({**MANY, "train": MANY["train"][::-1]})))
    assert set(turned.train_subjects(5)) == sets[1]


def test_a_label_may_train_on_fewer_subjects_which_is_in_its_key_and_its_record(write_protocol: Write) -> None:
    methods = {
        "linear": {},
        "linear-n2": {"method": "linear", "train_subjects": 2},
        "linear-n3": {"method": "linear", "train_subjects": 3},
    }
    trainings = planned(write_protocol, methods=methods)
    assert [training.base.label for training in trainings] == list(methods)
    assert len({training.base.train_key for training in trainings}) == 3
    assert [training.resolved.get("train_subjects") for training in trainings] == [None, 2, 3]
    assert len(SUBJECTS["train"]) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"method": "linear", "train_subjects": 4}, "the split has 3 training subjects"),
        ({"method": "bicubic", "train_subjects": 2}, "bicubic learns nothing"),
        ({"method": "linear", "train_subjects": 0}, "greater than or equal to 1"),
    ],
)
def test_an_impossible_number_of_subjects_is_named_at_its_line(
    write_protocol: Write, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"small\.yaml:\d+: methods\.few\.train_subjects: .*{message}"):
        planned(write_protocol, methods={"few": spec})


def test_with_a_limit_a_label_takes_as_many_subjects_as_there_are(write_protocol: Write) -> None:
    path = write_protocol(methods={"few": {"method": "linear", "train_subjects": 3}})
    [training] = plan_trainings(protocol.load(str(path)).override(limit=2))
    assert len(training.loaded.train_subjects(training.train_subjects)) == 2


NETWORKS = {"srcnn": {}, "fast": {"method": "srcnn", "lr": 0.004}, "bicubic": {}}


def test_a_label_may_declare_its_own_learning_rate_in_track_equal(write_protocol: Write) -> None:
    srcnn, fast, bicubic = planned(write_protocol, methods=NETWORKS)
    shared = protocol.load(str(write_protocol())).protocol.training.lr
    assert srcnn.recipe
    assert fast.recipe
    assert (srcnn.recipe.lr, fast.recipe.lr, bicubic.recipe) == (shared, 0.004, None)
    assert fast.recipe == srcnn.recipe.model_copy(update={"lr": 0.004})
    assert srcnn.base.train_key != fast.base.train_key


@pytest.mark.parametrize(
    ("spec", "track"),
    [
        ({"method": "bicubic", "lr": 0.1}, small_protocol()["training"]),
        ({"method": "linear", "lr": 0.1}, small_protocol()["training"]),
        ({"method": "srcnn", "lr": 0.1}, {"track": "published"}),
    ],
)
def test_a_learning_rate_where_none_can_be_declared_is_named_at_its_line(
    write_protocol: Write, spec: dict[str, Any], track: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=r"small\.yaml:\d+: methods\.few\.lr: .*for networks in track equal; remove"):
        planned(write_protocol, methods={"few": spec}, training=track)


def test_tiles_are_part_of_a_networks_score_key_and_of_nothing_else(write_protocol: Write) -> None:
    whole = planned(write_protocol, methods={"srcnn+": {}, "bicubic": {}})
    tiles = {"tile": 16, "overlap": 4}
    tiled = planned(write_protocol, methods={"srcnn+": {}, "bicubic": {}}, inference=tiles)
    other = planned(write_protocol, methods={"srcnn+": {}}, inference={"tile": 16})
    assert [training.inference for training in (*whole, *tiled)] == [None, None, tiles, None]
    assert (whole[0].task.tiles, tiled[0].task.tiles, other[0].task.tiles) == (None, (16, 4), (16, 0))
    keys = [training.base.train_key for training in (*whole, *tiled, *other)]
    assert keys == [*keys[:2], *keys[:2], keys[0]]
    for cell in ("base", "plus"):
        assert len({getattr(training, cell).score_key for training in (whole[0], tiled[0], other[0])}) == 3
    assert whole[1].base.score_key == tiled[1].base.score_key


@pytest.mark.parametrize(("tiles", "message"), [({"tile": 4}, "greater than"), ({"tile": 16, "overlap": 9}, "half")])
def test_tiles_that_cannot_be_are_refused(write_protocol: Write, tiles: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=rf"small\.yaml:\d+: inference.*{message}"):
        planned(write_protocol, inference=tiles)
