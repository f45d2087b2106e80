"""Celery on Redis: `celery -A on_celery worker` runs tasks, `on_celery.py` adds them.

As it is used by most: a task counts as done when a worker takes it, Redis writes to the disk only now and then, and there is
no request that adds many tasks. No results, as ours has none to keep here.
"""

import os
import time

from celery import Celery
from kombu import Connection

from load import serve

app = Celery("on_celery", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="nothing")
def nothing():
    pass


class Peer:
    def __init__(self):
        self.redis = Connection(os.environ["BROKER"]).channel().client

    def add(self, count):
        with app.producer_or_acquire() as producer:
            for _ in range(count):
                nothing.apply_async(producer=producer)

    def drained(self):
        """Neither waiting nor taken by the worker and not called yet."""
        while self.redis.llen("celery") or self.redis.hlen("unacked"):
            time.sleep(0.005)


if __name__ == "__main__":
    peer = Peer()
    # Only when its worker is there.
    peer.add(1)
    peer.drained()
    serve(peer)
