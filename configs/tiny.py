"""Seconds, not minutes: 32 x 32 images and a narrow model, to see that everything runs.

python launch/train.py --config=configs/tiny.py --workdir=runs/tiny
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli


def get_config() -> ConfigDict:
    return cli.make_config(
        {
            "data.side": 32,
            "model.channels": 8,
            "training.num_epochs": 2,
            "training.batch_size": 32,
            "training.log_every": 10,
            "targets.kind": "off",
        }
    )
