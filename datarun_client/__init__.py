"""The client of datarun: the wire's codec, the shared enums and errors, and `post_api`.

The leaf of the three packages: it imports neither of the others.
"""

__version__ = "0.1.0"
