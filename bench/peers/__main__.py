"""Says which of the peers' packages this interpreter has, as JSON."""

import json
from importlib.metadata import PackageNotFoundError, version

from bench.peers import PEERS

found = {}
for package in {package for peer in PEERS for package in peer.packages}:
    try:
        found[package] = version(package)
    except PackageNotFoundError:
        continue
print(json.dumps(found))
