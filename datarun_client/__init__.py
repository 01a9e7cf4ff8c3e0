"""The client of datarun: the wire's codec, the shared enums and errors, and `post_api`.

The leaf of the three packages: it imports neither of the others.
"""

__version__ = "0.1.0"

PROTOCOL = 1
"""The number of what workers and the API say to each other. It goes up with every change that the
other side, a release older, wouldn't understand; sides with different numbers don't work together,
and say which one to upgrade."""

PROTOCOL_HEADER = "Datarun-Protocol"
"""The header that names it, in the worker's requests and in the API's answers to them."""
