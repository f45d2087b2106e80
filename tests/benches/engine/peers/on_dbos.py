"""DBOS: `on_dbos.py URL-OF-POSTGRESQL` runs workflows in the process that asks for them, as DBOS is a library.

Clients call the workflow and wait: that starts it at once, without a queue, and without polling for its result.
"""

import sys

from dbos import DBOS

from load import serve

# With its own twenty connections: sixty-four make it slower, for Python's threads wait for one another then.
DBOS(config={"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR"})


@DBOS.step()
def step(number):
    return number


@DBOS.workflow()
def workflow(count):
    return sum(step(number) for number in range(count))


class Peer:
    workflow = staticmethod(workflow)


DBOS.launch()
assert workflow(10) == 45
serve(Peer)
