"""Settings of training and models that make no sense."""

import pytest

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig
from jaxsurf.training.corruption import CorruptionConfig
from jaxsurf.training.data import TrainingConfig
from jaxsurf.training.distributed import Cluster
from jaxsurf.training.objective import ObjectiveConfig
from jaxsurf.training.optimizer import OptimizerConfig

PLACE = {"coordinator": "here:1", "num_processes": 2, "process_id": 0}


@pytest.mark.parametrize(
    ("make", "wrong", "words"),
    [
        (CorruptionConfig, {"kind": "salt"}, r"corruption\.kind"),
        (CorruptionConfig, {"strength": float("nan")}, r"corruption\.strength"),
        (CorruptionConfig, {"kind": "white", "strength": 1.5}, r"corruption\.strength"),
        (TrainingConfig, {"num_epochs": 0}, r"training\.num_epochs"),
        (TrainingConfig, {"seed": -1}, r"training\.seed"),
        (TrainingConfig, {"keep_best": -1}, r"training\.keep_best"),
        (TrainingConfig, {"precision": "float16"}, r"training\.precision"),
        (ObjectiveConfig, {"mse": 0.0}, "all weights of the objective are 0"),
        (ObjectiveConfig, {"l1": float("nan")}, r"objective\.l1 is nan"),
        (ObjectiveConfig, {"layers": {"relu9_1": 1.0}}, "relu9_1"),
        (ObjectiveConfig, {"layers": {"relu3_3": 0.0}}, "relu3_3=0.0; give a finite weight"),
        (ObjectiveConfig, {"precision": "float16"}, r"objective\.precision"),
        (ObjectiveConfig, {"feature_cache_mib": -1}, "feature_cache_mib is -1"),
        (OptimizerConfig, {"name": "sgd"}, "optimizer.name is 'sgd'"),
        (OptimizerConfig, {"learning_rate": 0.0}, "must be above 0"),
        (OptimizerConfig, {"b2": 1.0}, "optimizer.b2"),
        (OptimizerConfig, {"step_epochs": 0}, "step_epochs"),
        (Cluster, {"coordinator": "here:1"}, "describe no process of a cluster"),
        (Cluster, PLACE | {"coordinator": "here"}, "describe no process of a cluster"),
        (Cluster, PLACE | {"process_id": 2}, "describe no process of a cluster"),
        (ModelConfig, {"name": "vae"}, "model.name is 'vae'"),
        (ModelConfig, {"latent_dim": 0}, "latent_dim is 0"),
        (ModelConfig, {"channels": 6}, "multiple of 4"),
    ],
)
def test_wrong_settings_are_refused(make, wrong, words):
    with pytest.raises(UserError, match=words):
        make(**wrong)
