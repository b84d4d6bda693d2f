"""Automatic differentiation: the graph, the walk back over it, and what a user can hook into it."""

from minidl.autograd.anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from minidl.autograd.engine import backward, grad
from minidl.autograd.function import Function
from minidl.autograd.mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minidl.autograd.node import Node

__all__ = [
    "Function",
    "Node",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
