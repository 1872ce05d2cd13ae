"""Several processes as one run, on the loopback; whole runs of two are in tests/pipeline.

Started as a program, this file is one of them: python test_distributed.py PROCESS PORT.
"""

import os
import socket
import subprocess
import sys

import jax
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training import distributed
from jaxsurf.training.distributed import Cluster

CALLS = 40


def test_all_know_the_largest_and_the_least_number_and_refuse_what_differs():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = [
        subprocess.Popen(
            [sys.executable, __file__, str(process), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for process in (0, 1)
    ]
    for process, one in enumerate(both):
        out, err = one.communicate(timeout=120)
        assert one.returncode == 1
        assert f"4 devices, process {process} done" in out, err
        assert "error: data is cafe in process 0, but cafee in process 1; start all" in err


def be_one_of_two(process):
    agreement = distributed.Agreement()
    heard = [agreement(call * (process + 1) % 7) for call in range(CALLS)]
    given = [max(call % 7, call * 2 % 7) for call in range(CALLS)]
    assert heard == [0, *given[:-1]], heard
    assert distributed.least(3.5 + process) == 3.5
    assert distributed.writes() == (process == 0)
    distributed.check_agreement({"settings": {"rate": 0.5}, "data": "cafe"})
    sys.stdout.write(f"{jax.device_count()} devices, process {jax.process_index()} done\n")
    distributed.check_agreement({"settings": {"rate": 0.5}, "data": "cafe" + process * "e"})


PLACE = {"coordinator": "here:1", "num_processes": 2, "process_id": 0}


@pytest.mark.parametrize("wrong", [{"num_processes": 0}, {"coordinator": "a"}, {"process_id": 2}])
def test_a_place_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match="describe no process of a cluster"):
        Cluster(**PLACE | wrong)


if __name__ == "__main__":
    _, process, port = sys.argv
    jax.config.update("jax_num_cpu_devices", 2)
    address = f"localhost:{port}"
    cluster = Cluster(coordinator=address, num_processes=2, process_id=int(process), join_s=30)
    try:
        with distributed.joined(cluster):
            be_one_of_two(int(process))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        distributed.leave(1)
