"""How gunicorn serves the API, for `datarun up` and for the Procfile.

gunicorn reads these names; what its command line says goes before them.
"""

from datarun_api.config import load_config

worker_class = "gthread"

workers = 2
"""Two processes: while one unpacks a large upload the other answers."""

threads = 8 + load_config()["MAX_WAITERS"]
"""Requests mostly wait for PostgreSQL, so a process serves several at once; each thread holds at
most one database connection, which keeps both processes far below PostgreSQL's limit. Those that
wait for a fold (`waiting`) hold none, and get threads besides."""

timeout = 120
"""Seconds without a sign of life after which gunicorn replaces one of its processes."""

graceful_timeout = 5
"""Seconds that requests under way may take after a stop."""

keepalive = 75
"""Seconds that an idle connection stays open: longer than the pauses between a worker's requests,
so that they rarely meet a connection that is just being closed."""
