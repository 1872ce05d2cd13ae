"""Has a model learnt anything? Not if it answers every image with nearly one and the same.

A model that was trained to reproduce pixels is judged by its error, beside that of answering with
the mean image. Features can be matched in other colours: a model trained on them as well is judged
by how much its outputs differ from one another, beside how much the images do. Of very many images
a sample is looked at (`jaxsurf.evaluation.reconstruction`).
"""

import logging

from jaxsurf.errors import UserError
from jaxsurf.evaluation import reconstruction
from jaxsurf.images import summary
from jaxsurf.images.image_set import ImageSet
from jaxsurf.models.autoencoder import Autoencoder
from jaxsurf.training.hosts import Alike
from jaxsurf.training.objective import ObjectiveConfig

# A model that explains less of the variance of the images than this has learnt next to nothing.
LEAST_SHARE = 0.1

_log = logging.getLogger(__name__)


class Collapsed(UserError, Alike):  # noqa: N818  (it says what happened)
    """The trained model has learnt next to nothing."""


def check(model: Autoencoder, images: ImageSet, objective: ObjectiveConfig) -> None:
    """Refuse a model that has learnt next to nothing.

    Raises:
        Collapsed: its error is hardly below the mean image's, or its outputs are nearly all equal.
    """
    shown = reconstruction.sample(images.images)
    baseline = summary.variance(shown)
    if objective.perceptual:
        varied = summary.variance(reconstruction.reconstruct(model, shown))
        _log.info("variance of reconstructions %.3g, of the images %.3g", varied, baseline)
        fault = f"its outputs vary by {varied:.2e}, the images by {baseline:.2e}"
        learnt = varied > LEAST_SHARE * baseline
    else:
        error = float(reconstruction.mse(model, shown).mean())
        _log.info("reconstruction mse %.3g, of the mean image %.3g", error, baseline)
        fault = f"its error {error:.2e} is no better than the mean image's {baseline:.2e}"
        learnt = error < (1 - LEAST_SHARE) * baseline
    if not learnt:
        raise Collapsed(
            f"the model collapsed: {fault}",
            cure="try a lower learning rate, another seed or model, or more epochs",
        )
