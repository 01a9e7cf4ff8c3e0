"""PostgreSQL and Valkey for the suite: ``python servers.py HOME`` prints where they are and waits.

A program of its own, because the supervisor reads what its servers write for as long as they run.
"""

import json
import os
import sys
from pathlib import Path

from datarun_api.embedded import EmbeddedPostgres, EmbeddedValkey
from datarun_api.home import Home
from datarun_api.supervisor import Supervisor


def main(folder: Path) -> None:
    """Run both servers until somebody asks to stop."""
    home = Home(folder)
    log = (folder / "servers.log").open("w")
    with Supervisor(home.record, lambda line: print(line, file=log, flush=True)) as supervisor:
        servers = (EmbeddedPostgres(home), EmbeddedValkey(home))
        for server in servers:
            server.init()
            child = supervisor.start(server.get_program(os.environ))
            supervisor.wait_for(server.is_ready, child.program.name, 60)
        print(json.dumps([server.url for server in servers]), flush=True)
        supervisor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
