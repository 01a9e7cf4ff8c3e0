"""Shadows nothing for libraries."""

SOURCE = "the author's"
