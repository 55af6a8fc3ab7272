"""What a source file says, read with libcst: what names stand for, and what training mode gates."""

from dropcheck.syntax.file import SourceFile as SourceFile
from dropcheck.syntax.gate import Gate as Gate
from dropcheck.syntax.parsing import Unparsable as Unparsable
