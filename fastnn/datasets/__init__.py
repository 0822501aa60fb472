"""Data sets to train on at once: the embedded 8x8 digits, and MNIST from disk or download.

Importing this package reads and downloads nothing; each loader does when it is called.
"""

from fastnn.datasets._dataset import Dataset
from fastnn.datasets._digits import digits
from fastnn.datasets._files import DatasetError
from fastnn.datasets._mnist import mnist

__all__ = ["Dataset", "DatasetError", "digits", "mnist"]
