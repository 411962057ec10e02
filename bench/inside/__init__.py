"""The parts that run inside the host, as `python3 -m bench.inside PART NUMBER…`; each prints its findings.

Requests are *paced*: after each answer the client joins the same request by its id (`?follow=true`) and reads
its report to the end, then rests for some milliseconds, so that nothing of one request runs while the next
is timed. The burst is the opposite on purpose.
"""
