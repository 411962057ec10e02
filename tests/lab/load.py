"""A load generator, run in a lab host: `python3 -S load.py URL STOP_FILE [WORKERS]`.

Each worker asks again and again over a connection that it keeps, a hundredth of a second after each answer. When
STOP_FILE is there it ends and prints as JSON how many requests there were, which failed and how, who answered, and
how long they took.
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse


def worker(
    host: str, port: int, stop: str, took: list[float], failed: list[str], by: collections.Counter[str]
) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    while not os.path.exists(stop):
        began = time.monotonic()
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise OSError(f"{answer.status}: {body[:200].decode(errors='replace')}")
            by[json.loads(body)["From"]] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed.append(f"{type(error).__name__}: {error}")
            connection.close()
        took.append(time.monotonic() - began)
        time.sleep(0.01)


def main(url: str, stop: str, workers: str = "8") -> None:
    at = urllib.parse.urlsplit(url)
    took: list[float] = []
    failed: list[str] = []
    by: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    threads = [
        threading.Thread(target=worker, args=(at.hostname, at.port or 80, stop, took, failed, by))
        for _ in range(int(workers))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    print(
        json.dumps(
            {
                "Seconds": time.monotonic() - began,
                "Requests": len(took),
                "Failed": failed,
                "By": by,
                "Median": took[len(took) // 2],
                "P99": took[len(took) * 99 // 100],
                "Longest": took[-1],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
