import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline.compare import pipeline, table
from jaxsurf.pipeline.run import configuration
from jaxsurf.pipeline.run.configuration import RunConfig
from jaxsurf.writing import write_json

ROOT = Path(__file__).parents[3]


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
    assert written[2].count(b"\n") == pipeline.PROBE_STEPS
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
        pipeline.CompareConfig(ours=RunConfig(), reference=RunConfig(), **wrong)


def row(**changes):
    facts = {
        "side": "ours",
        "model": "smooth",
        "latent_dim": 2,
        "seed": 0,
        "epochs": 7,
        "training_s": 61.4,
        "k": 4,
        "psnr_db": 40.0,
        "linear": 10.0,
        "surfing": 6.0,
        "ratio": 0.6,
        "win_rate": 0.9,
        "floor": None,
        "collapsed": False,
    }
    return table.Row(**facts | changes)


def test_an_epochs_time_leaves_compilation_out():
    # 30 s until the first line, 2 s an epoch after it.
    lines = [{"epoch": 0.1 * n, "elapsed_s": 30 + 0.2 * (n - 1)} for n in range(1, 21)]
    assert pipeline._epoch_s(lines) == pytest.approx(2.0)


def test_medians_are_of_our_model_alone_and_by_latent_size():
    rows = [row(seed=seed, ratio=ratio) for seed, ratio in enumerate((0.9, 0.5, 0.6))]
    rows += [row(side="reference", ratio=0.1), row(latent_dim=3, ratio=0.3)]
    two, three = table._medians(rows)
    assert "d = 2, medians of 3 seeds" in two
    assert "surfing / linear 0.60" in two
    assert "surfing / linear 0.30" in three


def test_a_row_has_a_cell_for_every_column_and_says_what_collapsed():
    columns = table.HEADER.split("\n")[0].count("|")
    assert str(row()).count("|") == columns
    assert str(row(collapsed=True, floor=1.5)).startswith("| smooth (collapsed) |")


def test_a_member_without_scores_has_empty_cells_and_no_say_in_the_medians():
    names = ("k", "linear", "surfing", "floor", "ratio", "win_rate")
    bare = row(collapsed=True, **dict.fromkeys(names))
    assert str(bare) == "| smooth (collapsed) | 2 | 0 | 7 | 61 | 40.0 |  |  |  |  |  |  |"
    assert table._medians([bare]) == []
    assert "medians of 1 seeds" in table._medians([bare, row()])[0]


def test_members_differ_in_latent_size_and_seed_alone(tmp_path):
    member = pipeline._with(RunConfig(), latent_dim=3, seed=5)
    assert (member.model.latent_dim, member.training.seed) == (3, 5)
    back = pipeline._with(member, latent_dim=2, seed=RunConfig().training.seed)
    assert dataclasses.asdict(back) == dataclasses.asdict(RunConfig())
    assert pipeline.Member("ours", member, tmp_path).folder == tmp_path / "ours-d3-seed5"


def test_learning_rate_falls_at_the_same_shares_of_a_longer_run(tmp_path):
    settings = {"training.num_epochs": 600, "optimizer.step_epochs": 150}
    member = pipeline.Member("reference", configuration.from_dotted(settings), tmp_path)
    lasting = [member.lasting(epochs).config for epochs in (1, 10, 600)]
    assert [config.training.num_epochs for config in lasting] == [1, 10, 600]
    assert [config.optimizer.step_epochs for config in lasting] == [1, 2, 150]


def test_a_member_begun_with_other_settings_is_refused(tmp_path):
    member = pipeline.Member("reference", RunConfig(), tmp_path).lasting(12)
    content = {
        "config": configuration.to_dict(member.config),
        "data": {"fingerprint": "0"},
        "versions": {},
    }
    write_json(member.folder / "config.json", content)
    narrow = dataclasses.replace(member.config.model, channels=8)
    other = dataclasses.replace(member, config=dataclasses.replace(member.config, model=narrow))
    fitted = pipeline._fitted(other, budget_s=5.0)
    assert fitted.config.training.num_epochs == 12  # as begun, not fitted anew
    with pytest.raises(UserError, match=r"model\.channels"):
        pipeline._row(fitted, pipeline.CompareConfig(ours=RunConfig(), reference=RunConfig()))
