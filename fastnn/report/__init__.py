"""The performance report: pytest-benchmark's JSON in, plots and pages out; and what changed between two runs.

Drawing needs matplotlib (`pip install '.[plots]'`), running the suites `'.[bench]'` and a clone; comparing
needs neither.
"""

from fastnn.report.record import Run, read
from fastnn.report.write import default_folder, write

__all__ = ["Run", "default_folder", "read", "write"]
