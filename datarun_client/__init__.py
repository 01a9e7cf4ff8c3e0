"""The client of datarun: the wire's codec, the shared enums and errors, and `post_api`.

The leaf of the three packages: it imports neither of the others.
"""

__version__ = "0.1.0"

PROTOCOL = 1
"""What workers and the API say to each other; another number means that they can't."""

PROTOCOL_HEADER = "Datarun-Protocol"
