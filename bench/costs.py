"""Where a training step's time goes, network by network: `net.profile` of those that the suites train. One thread.

python -m bench.costs [PART OF A NAME]      (all of less than a million weights; or those of such a name)
"""

from __future__ import annotations

import sys

from bench.harness import limited
from bench.peers.fastnn import Training
from bench.shapes import NETWORKS, training_data

if __name__ == "__main__":
    with limited(1):
        for shape in NETWORKS:
            if shape.one_call and (sys.argv[1] in shape.name if sys.argv[1:] else shape.weights < 1e6):
                data = training_data(shape)
                trainer = Training(shape, data, shape.start()).trainer
                print(f"\n{shape.name}: {trainer.profile(data.x[: shape.batch], data.y[: shape.batch])}", flush=True)
