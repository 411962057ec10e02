"""Asking hosts what they have of a deployment. It sends one request, which reads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable

from geard.cli.asking import session
from geard.deployments.descriptor import Descriptor
from geard.deployments.found import There, host_name
from geard.deployments.requests import Deployed, GetDeployed
from geard.failures import Failure, TimedOut, Unavailable
from geard.identifiers import parse_place


def hosts_of(descriptor: Descriptor) -> tuple[str, ...]:
    """Those at which instances were written down, or are yet to be removed."""
    were = [instance.on for instance in descriptor.instances if instance.on is not None]
    were += [leaving.on for leaving in descriptor.leaving]
    return tuple(dict.fromkeys(map(host_name, were)))


def survey(name: str, hosts: Iterable[str]) -> tuple[There, dict[str, Failure]]:
    """What each host has of the deployment; those that do not answer, and why.

    Raises the Failure of a host that answers, and refuses.
    """
    asked = tuple(dict.fromkeys(hosts))
    answers: queue.SimpleQueue[tuple[str, Deployed | BaseException]] = queue.SimpleQueue()

    def ask(host: str) -> None:
        try:
            answers.put((host, session.transport(parse_place(host)).send(GetDeployed(id=name))))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            answers.put((host, error))

    for host in asked:
        threading.Thread(target=ask, args=(host,), name=f"survey of {host}", daemon=True).start()
    found: dict[str, Deployed] = {}
    silent: dict[str, Failure] = {}
    for _ in asked:
        host, answer = answers.get()
        if isinstance(answer, Deployed):
            found[host] = answer
        elif isinstance(answer, (Unavailable, TimedOut)):
            silent[host] = answer
        elif isinstance(answer, Failure):
            raise type(answer)(f"{host}: {answer.message}", hint=answer.hint)
        else:
            raise answer
    return There({host: found[host] for host in asked if host in found}, frozenset(silent)), silent
