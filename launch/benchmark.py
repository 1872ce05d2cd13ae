"""Time stages of the pipeline, each beside what one could use instead.

    python launch/benchmark.py --suite=decode --out=runs/benchmarks

The table is printed, and after every row written to benchmarks.json and benchmarks.md. The same
command again measures what is missing there. On an accelerator begin with `--suite=gpu`, whose
rows come in order of worth; `--scale=rehearsal` does every row in small, to see that it runs.
"""

from pathlib import Path

from absl import flags

from jaxsurf.pipeline import cli

_SUITE = flags.DEFINE_string(
    "suite",
    "all",
    "Which rows to measure: gpu, graph, train, decode, sweep, or all that a CPU does in time. "
    "Packages that baselines need: torch (train, perceptual, batch-512, knn-wide), pykdtree (knn), "
    "faiss-cpu (knn-wide), networkx (pipeline), pytest-xdist (gpu-tests); rows without theirs hold "
    "jaxsurf's figures alone.",
)
_SCALES = "full, or rehearsal: every row in small, on any machine."
_SCALE = flags.DEFINE_string("scale", "full", _SCALES)
_OUT = cli.define_string("out")


def main() -> object:
    from jaxsurf.pipeline.benchmark import suites

    return suites.run(_SUITE.value, Path(_OUT.value), scale=_SCALE.value)


if __name__ == "__main__":
    cli.run(main)
