"""nn.Module → Graph: symbolic torch.fx first, a recorded run where that fails.

Both ways end in the same list of calls, and those in the same graph through one catalogue of operations.
"""

from dropcheck.capture.attempt import Capture, CaptureError, capture
from dropcheck.capture.example import ExampleInput
from dropcheck.capture.sites import BuiltSites, construction_sites

__all__ = ["BuiltSites", "Capture", "CaptureError", "ExampleInput", "capture", "construction_sites"]
