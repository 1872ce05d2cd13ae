import subprocess
import sys

import pytest

# Takes and frees more than glibc keeps of its own accord, in a thread as XLA does.
PROGRAM = """
import resource, sys, threading
import numpy as np
from jaxsurf.pipeline.command import heap

if sys.argv[1] == "kept":
    heap.keep_freed()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(80 * 2**20, np.uint8)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

found = []
for _ in range(3):
    thread = threading.Thread(target=faults)
    thread.start()
    thread.join()
print(found[-1])
"""


def page_faults(how):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is for glibc alone")
def test_memory_that_was_freed_is_taken_again_without_the_systems_help():
    assert page_faults("given back") > 30
    assert page_faults("kept") < 10
