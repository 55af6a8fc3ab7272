"""dropcheck finds where dropout and batch normalisation harm each other, says by how much, and shows the way out."""

__version__ = "0.1.0"
