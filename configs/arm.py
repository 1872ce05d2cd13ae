"""The built-in robot arm: 1,600 images, two degrees of freedom, the `smooth` model.

    python launch/train.py --config=configs/arm.py --workdir=runs/arm

Any other source by `--config.data.source=` alone; one of a few hundred images takes more epochs
(`--config.training.num_epochs=200`).
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config() -> ConfigDict:
    return cli.make_config(experiments.ARM)
