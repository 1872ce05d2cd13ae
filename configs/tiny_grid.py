"""Six runs in about a minute: two noises of three strengths, on 32 x 32 images.

python launch/sweep.py --config=configs/tiny_grid.py --workdir=runs/tiny_grid
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli


def get_config() -> ConfigDict:
    shared = {"data.side": 32, "data.stride": 2, "model.channels": 8, "training.num_epochs": 30}
    axes = {"corruption.strength": (0.1, 0.2, 0.5), "corruption.kind": ("normal", "white")}
    return cli.make_config(shared, axes=axes)
