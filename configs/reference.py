"""The report's model and recipe, on the arm.

    python launch/train.py --config=configs/reference.py --workdir=runs/reference

Source: Yadlin & Botchan, "Data Interpolation in Latent Space", and its authors' score table: 600
epochs, batch 16, learning rate 1e-2 falling tenfold every 150 epochs, L2 weight decay 1e-5, noise
0.2 normal, C = 64. The objective's weight of 4 on [0, 1] is their weight of 1 on [-1, 1].
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config() -> ConfigDict:
    return cli.make_config(experiments.REFERENCE)
