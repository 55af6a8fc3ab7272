"""What the command line and the files say without being run. Standard library only, and fast."""

from dropcheck.source.candidates import Candidate, Kind
from dropcheck.source.discover import Found, find_files, shown_path
from dropcheck.source.scan import Scan, scan
from dropcheck.source.spec import InputSpec, parse_input
from dropcheck.source.target import Target, parse_arguments, parse_target
from dropcheck.source.usage import UsageError

__all__ = [
    "Candidate",
    "Found",
    "InputSpec",
    "Kind",
    "Scan",
    "Target",
    "UsageError",
    "find_files",
    "parse_arguments",
    "parse_input",
    "parse_target",
    "scan",
    "shown_path",
]
