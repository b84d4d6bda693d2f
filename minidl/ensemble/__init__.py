"""Several models that decide together: votes, snapshots, views of one image, how sure to be, and what to expect of it.

ensemble = minidl.ensemble.VotingEnsemble(models).eval()
log_probabilities = ensemble(images)
minidl.ensemble.majority_error(5, 0.1)      # 0.00856, if their errors had nothing in common
"""

from minidl.ensemble.analysis import (
    disagreement,
    error_correlation,
    intraclass_correlation,
    majority_error,
    q_statistic,
)
from minidl.ensemble.augmented import TestTimeAugmentation
from minidl.ensemble.calibration import (
    Reliability,
    TemperatureScaling,
    expected_calibration_error,
    plot_reliability,
    reliability_diagram,
)
from minidl.ensemble.snapshot import Snapshots
from minidl.ensemble.together import MembersTogether, stack_module_state
from minidl.ensemble.voting import VotingEnsemble, hard_vote, soft_vote

__all__ = [
    "MembersTogether",
    "Reliability",
    "Snapshots",
    "TemperatureScaling",
    "TestTimeAugmentation",
    "VotingEnsemble",
    "disagreement",
    "error_correlation",
    "expected_calibration_error",
    "hard_vote",
    "intraclass_correlation",
    "majority_error",
    "plot_reliability",
    "q_statistic",
    "reliability_diagram",
    "soft_vote",
    "stack_module_state",
]
