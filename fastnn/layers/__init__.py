"""Layers: a family a file. Each declares its parameters and combines symbolic tensors."""

from fastnn.layers.base import Input, Layer, Parameter, Wire
from fastnn.layers.core import Activation, Dense, Dropout
from fastnn.layers.shaping import Add, Concatenate, Flatten, Reshape

__all__ = [
    "Activation",
    "Add",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "Layer",
    "Parameter",
    "Reshape",
    "Wire",
]
