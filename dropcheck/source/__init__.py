"""What the command line and the files say without being run. Standard library only, and fast."""

from dropcheck.source.candidates import Candidate, Kind
from dropcheck.source.comments import Comments, Ignore, Malformed, comments_in
from dropcheck.source.discover import Found, find_files, shown_path
from dropcheck.source.module import file_of_module
from dropcheck.source.patterns import Patterns
from dropcheck.source.reading import Unreadable, text_of
from dropcheck.source.scan import Scan, scan
from dropcheck.source.spec import InputSpec, parse_input
from dropcheck.source.target import Target, parse_arguments, parse_target
from dropcheck.source.usage import UsageError

__all__ = [
    "Candidate",
    "Comments",
    "Found",
    "Ignore",
    "InputSpec",
    "Kind",
    "Malformed",
    "Patterns",
    "Scan",
    "Target",
    "Unreadable",
    "UsageError",
    "comments_in",
    "file_of_module",
    "find_files",
    "parse_arguments",
    "parse_input",
    "parse_target",
    "scan",
    "shown_path",
    "text_of",
]
