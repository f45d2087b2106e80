"""The loads of ../load.rs, for peers in Python: see load.js, which has the same commands and answers."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor


def quantile(times, part):
    return times[min(int(len(times) * part), len(times) - 1)]


def latency(peer, steps, count):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        peer.workflow(steps)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}


def steps(peer, workflows, steps, seconds):
    began = time.perf_counter()

    def client(_):
        done = 0
        while time.perf_counter() < began + seconds:
            peer.workflow(steps)
            done += steps
        return done

    with ThreadPoolExecutor(workflows) as clients:
        done = sum(clients.map(client, range(workflows)))
    return {"done": done, "rate": done / (time.perf_counter() - began)}


def tasks(peer, count, batch):
    began = time.perf_counter()
    for added in range(0, count, batch):
        peer.add(min(batch, count - added))
    added = time.perf_counter() - began
    peer.drained()
    return {"added": count / added, "rate": count / (time.perf_counter() - began)}


def serve(peer):
    def say(figures):
        print(json.dumps(figures), flush=True)

    say({"ready": True})
    for line in sys.stdin:
        load, *numbers = line.split()
        say({"latency": latency, "steps": steps, "tasks": tasks}[load](peer, *map(int, numbers)))
