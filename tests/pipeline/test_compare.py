import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import compare, configuration
from jaxsurf.pipeline.configuration import RunConfig
from jaxsurf.pipeline.sweep import Outcome
from jaxsurf.workdir import write_json

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_comparing_twice_trains_once_from_any_folder(launch, tmp_path):
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.integers(0, 256, (9, 32, 32, 3), np.uint8))
    flags = [
        f"--workdir={tmp_path / 'all'}",
        f"--config={ROOT / 'configs/tiny.py'}",
        "--reference.model.channels=8",
        "--latent_dims=2",
        "--seeds=0",
        "--num_pairs=5",
        *(f"--{flag}.data.source={tmp_path / 'images.npy'}" for flag in ("config", "reference")),
    ]
    first = launch("compare", *flags, folder=tmp_path)
    assert first.status == 0, first.err
    table = (tmp_path / "all" / "comparison.md").read_text()
    assert first.out == table
    assert table.count("| smooth") == 1
    assert table.count("| reference") == 1
    runs = ("ours-d2-seed0", "reference-d2-seed0", "reference-d2-seed0-probe")
    written = [(tmp_path / "all" / name / "metrics.jsonl").read_bytes() for name in runs]
    # An epoch is one step here: two of them would tell nothing of the pace.
    assert written[2].count(b"\n") == compare.PROBE_STEPS
    again = launch("compare", *flags, folder=tmp_path)
    assert again.out == table
    assert written == [(tmp_path / "all" / name / "metrics.jsonl").read_bytes() for name in runs]
    other = launch("compare", *flags, "--reference.model.channels=12", folder=tmp_path)
    assert other.status == 1
    assert "begun with model.channels = 8, not 12" in other.err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seeds": ()}, "--seeds is empty"),
        ({"latent_dims": ()}, "--latent_dims is empty"),
        ({"seeds": (-1,)}, "--seeds must not be negative"),
        ({"num_pairs": 0}, "--num_pairs is 0"),
    ],
)
def test_a_comparison_of_nothing_is_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        compare.CompareConfig(ours=RunConfig(), reference=RunConfig(), **wrong)


ROW = {
    "model": "smooth",
    "d": 2,
    "seed": 0,
    "epochs": 7,
    "training s": 61.4,
    "PSNR dB": 40.0,
    "k": 4,
    "linear": 10.0,
    "surfing": 6.0,
    "surfing / linear": 0.6,
    "win rate": 0.9,
}


def test_an_epochs_time_leaves_compilation_out():
    # 30 s until the first line, 2 s an epoch after it.
    lines = [{"epoch": 0.1 * n, "elapsed_s": 30 + 0.2 * (n - 1)} for n in range(1, 21)]
    assert compare._epoch_s(lines) == pytest.approx(2.0)


def test_a_row_has_a_cell_for_every_column_and_those_without_a_figure_are_empty():
    assert compare.table([ROW, {**ROW, "linear": None, "true images": 1.25}]) == [
        "| model | d | seed | epochs | training s | PSNR dB | k | linear | surfing | true images"
        " | surfing / linear | win rate |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| smooth | 2 | 0 | 7 | 61 | 40.0 | 4 | 10.00 | 6.00 |  | 0.60 | 0.90 |",
        "| smooth | 2 | 0 | 7 | 61 | 40.0 | 4 |  | 6.00 | 1.25 | 0.60 | 0.90 |",
    ]


def test_a_member_without_scores_has_no_say_in_the_medians():
    bare = {name: ROW[name] for name in ("model", "d", "seed", "epochs", "PSNR dB")}
    rows = [ROW | {"surfing / linear": ratio} for ratio in (0.9, 0.5, 0.6)]
    assert compare._medians([bare]) == []
    assert compare._medians([*rows, bare]) == [
        "d = 2, medians of 3 seeds: PSNR 40.0 dB, surfing / linear 0.60, win rate 0.90"
    ]


def test_members_differ_in_latent_size_and_seed_alone(tmp_path):
    member = compare._with(RunConfig(), latent_dim=3, seed=5)
    assert compare._folder(tmp_path, "ours", member) == tmp_path / "ours-d3-seed5"
    assert compare._with(member, latent_dim=2, seed=RunConfig().training.seed) == RunConfig()


def test_a_member_begun_goes_on_with_its_epochs_and_is_refused_with_other_settings(tmp_path):
    settings = {"training.num_epochs": 12, "optimizer.step_epochs": 3}
    begun = configuration.from_dotted(settings)
    folder = tmp_path / "reference-d2-seed0"
    content = {
        "config": configuration.to_dict(begun),
        "data": {"fingerprint": "0"},
        "versions": {},
    }
    write_json(folder / "config.json", content)
    longer = configuration.from_dotted({"training.num_epochs": 600, "optimizer.step_epochs": 150})
    assert compare._fitted(longer, folder, budget_s=5.0) == begun  # not fitted anew
    narrow = dataclasses.replace(begun.model, channels=8)
    with pytest.raises(UserError, match=r"model\.channels"):
        compare._row(dataclasses.replace(begun, model=narrow), folder, 3)


def test_a_member_that_diverged_has_a_row_without_figures(config_of, tmp_path, monkeypatch):
    ended = Outcome(state="diverged", message="training diverged by step 3")
    monkeypatch.setattr(compare.sweep, "train_and_judge", lambda *_, **__: ended)
    row = compare._row(config_of(), tmp_path / "none", 3)
    cells = compare.table([row])[2]
    assert cells == "| smooth (diverged) | 2 | 0 | 40 |  |  |  |  |  |  |  |  |"
