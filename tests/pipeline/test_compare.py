"""Our model beside the report's: members, their time, the table, resumed."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.pipeline import compare, configuration
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
    assert (table.count("| smooth"), table.count("| reference")) == (1, 1)
    runs = ("ours-d2-seed0", "reference-d2-seed0", "reference-d2-seed0-probe")
    written = [(tmp_path / "all" / name / "metrics.jsonl").read_bytes() for name in runs]
    # An epoch is one step here: two of them would tell nothing of the pace.
    assert written[2].count(b"\n") == compare.PROBE_STEPS
    again = launch("compare", *flags, folder=tmp_path)
    assert again.out == table
    assert written == [(tmp_path / "all" / name / "metrics.jsonl").read_bytes() for name in runs]


ROW = {"training s": 60.0, "PSNR dB": 40.0, "surfing / linear": 0.6, "win rate": 0.9}


@pytest.mark.parametrize(("begun", "epochs"), [(True, 12), (False, 30)])
def test_the_reference_is_fitted_into_our_time_unless_it_was_begun(
    config_of, tmp_path, monkeypatch, begun, epochs
):
    ours = config_of(optimizer__step_epochs=10)  # a quarter of its epochs
    if begun:
        content = configuration.to_dict(configuration.lasting(ours, 12))
        described = {"config": content, "data": {"fingerprint": "0"}}
        write_json(tmp_path / "reference-d2-seed0" / "config.json", described)

    def probe(_, config, folder):  # 30 s until the first line, 2 s an epoch after it
        folder.mkdir()
        lines = [{"step": n, "epoch": 0.1 * n, "elapsed_s": 30 + 0.2 * (n - 1)} for n in (1, 7, 20)]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))

    seen = []
    monkeypatch.setattr(compare, "train_on", probe)
    monkeypatch.setattr(compare, "_row", lambda c, folder, _: seen.append((folder.name, c)) or ROW)
    asked = compare.CompareConfig(ours=ours, reference=ours, latent_dims=(2,), seeds=(0, 5))
    text = compare.compare(asked, tmp_path)
    assert [name for name, _ in seen] == ["ours-d2-seed0", "ours-d2-seed5", "reference-d2-seed0"]
    assert [c.training.seed for _, c in seen] == [0, 5, 0]
    fitted = seen[-1][1]
    assert (fitted.training.num_epochs, fitted.optimizer.step_epochs) == (epochs, round(epochs / 4))
    medians = "d = 2, medians of 2 seeds: PSNR dB 40.0, surfing / linear 0.60, win rate 0.90"
    assert text.endswith(medians)
