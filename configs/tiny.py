"""Seconds, not minutes: 32 x 32 images and a narrow model, to see that everything runs.

python launch/train.py --config=configs/tiny.py --workdir=runs/tiny
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import command


def get_config() -> ConfigDict:
    """Return the settings."""
    config = command.default_config()
    config.data.side = 32
    config.model.channels = 8
    config.training.num_epochs = 2
    config.training.batch_size = 32
    config.training.log_every = 10
    return config
