"""The isolated processes in which foreign code runs.

The main process starts one worker, which imports torch once and forks a child for every job. Jobs go in and answers
come out as lines of JSON over pipes that foreign code never sees; whatever it prints goes to stderr.
"""

from dropcheck.worker.client import Worker

__all__ = ["Worker"]
