"""Score interpolation methods on many random pairs.

python launch/evaluate.py --workdir=runs/arm --num_pairs=100 --methods=pixel,linear,surfing
"""

from absl import flags

from jaxsurf.pipeline import evaluate
from jaxsurf.pipeline.command import options, script, way_options
from jaxsurf.pipeline.run import open_run

_WORKDIR = options.define_workdir()
_CHECKPOINT = options.define_checkpoint()
_NUM_PAIRS = flags.DEFINE_integer("num_pairs", 100, "How many random pairs.")
_METHODS = way_options.define_methods()
_TIMING = way_options.define_timing()
_GRAPH = way_options.define_graph()
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice of pairs.")


def main() -> object:
    """Evaluate."""
    config = evaluate.EvaluateConfig(
        num_pairs=_NUM_PAIRS.value,
        methods=_METHODS(),
        timing=_TIMING(),
        graph=_GRAPH(),
        seed=_SEED.value,
    )
    return evaluate.evaluate(open_run(_WORKDIR(), checkpoint=_CHECKPOINT()), config)


if __name__ == "__main__":
    script.run(main)
