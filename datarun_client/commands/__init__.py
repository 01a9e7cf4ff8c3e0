"""The client's commands, one noun a file; `datarun_client.cli` puts them together.

A command turns its words into calls of `Client` and the answers into tables. Errors go up to the
group, which says them without a traceback, and `datarun_client.exit_codes` has the exit status.
"""
