"""What a report must not tell is taken out of pytest-benchmark's document: hosts, users, folders, single timings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# "cpu" is not private, but repeats flag by flag what fastnn's own configuration says.
PRIVATE = ("node", "processor", "release", "cpu")
# The folders of an absolute path, on any system.
FOLDERS = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:\\|~?/)(?:[^\s/\\:'\"]+[/\\])+")


def scrubbed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with what a report may tell, and no more."""
    machine = _mapping(document, "machine_info")
    commit = _mapping(document, "commit_info")
    kept = {
        "datetime": document.get("datetime", ""),
        "version": document.get("version", ""),
        "failed": document.get("failed", False),
        "bars": document.get("bars") or [],
        "commit_info": {name: commit[name] for name in ("id", "time", "dirty") if name in commit},
        "machine_info": {name: value for name, value in machine.items() if name not in PRIVATE},
        "benchmarks": [_benchmark(each) for each in document["benchmarks"] if isinstance(each, dict)],
    }
    return dict(without_folders(kept))


def _benchmark(each: Mapping[str, Any]) -> dict[str, Any]:
    stats = {name: value for name, value in _mapping(each, "stats").items() if name != "data"}
    facts = _mapping(each, "extra_info")
    return {
        "name": each.get("name", ""),
        "group": each.get("group"),
        "fullname": each.get("fullname", ""),
        "stats": stats,
        "extra_info": {name: value for name, value in facts.items() if name != "versions"},  # machine_info has them
    }


def without_folders(value: Any) -> Any:
    """Of each absolute path, the last name only: folders tell of users and hosts."""
    if isinstance(value, str):
        return FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {name: without_folders(each) for name, each in value.items()}
    return [without_folders(each) for each in value] if isinstance(value, (list, tuple)) else value


def _mapping(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = facts.get(name)
    return value if isinstance(value, Mapping) else {}
