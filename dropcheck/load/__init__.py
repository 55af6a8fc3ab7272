"""A job → live models, built, given an input and captured. For the worker: it runs the user's code."""

from dropcheck.load.analyse import analyse
from dropcheck.load.survey import Began

__all__ = ["Began", "analyse"]
