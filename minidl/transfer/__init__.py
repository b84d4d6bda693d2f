"""Transfer learning: what one network has learned, used for other data.

from minidl import models, transfer

model = models.mobilenet_v2(weights="IMAGENET1K_V1")
print(transfer.recommend(244, similar=True))          # which way, and why
x, y = transfer.features(model, loader, cache="runs/features.safetensors")
transfer.LinearSVC(C=0.01).fit(x, y)                  # a classifier on fixed features, or:
model = transfer.replace_head(transfer.freeze(model), 2)
"""

from minidl.transfer.features import features
from minidl.transfer.freezing import GradualUnfreezing, freeze, unfreeze
from minidl.transfer.groups import find_stages, param_groups
from minidl.transfer.heads import find_head, replace_head
from minidl.transfer.regimes import Recommendation, recommend
from minidl.transfer.svm import LinearSVC, crammer_singer_loss, one_vs_rest_loss

__all__ = [
    "GradualUnfreezing",
    "LinearSVC",
    "Recommendation",
    "crammer_singer_loss",
    "features",
    "find_head",
    "find_stages",
    "freeze",
    "one_vs_rest_loss",
    "param_groups",
    "recommend",
    "replace_head",
    "unfreeze",
]
