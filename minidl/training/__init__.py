"""Training a model: the loop, what it measures, shows and keeps."""

from minidl.training.callbacks import Callback
from minidl.training.checkpoint import load_checkpoint, save_checkpoint
from minidl.training.metrics import accuracy, top_k_accuracy
from minidl.training.pictures import plot_curves, plot_predictions
from minidl.training.trainer import Trainer

__all__ = [
    "Callback",
    "Trainer",
    "accuracy",
    "load_checkpoint",
    "plot_curves",
    "plot_predictions",
    "save_checkpoint",
    "top_k_accuracy",
]
