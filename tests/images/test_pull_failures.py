"""What a registry said no with, in words that say what would help."""

from __future__ import annotations

import pytest

from geard.failures import Denied, Failure, NotFound, Unavailable
from geard.images.pulling import pull_failure

NAME = "h2:5000/acme/app:1"


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ("Error: reading manifest: manifest unknown", NotFound, "check the name"),
        ("Error: requested access to the resource is denied", Denied, "gear login h2:5000"),
        ("Error: http: server gave HTTP response to HTTPS client", Unavailable, 'insecure = ["h2:5000"]'),
        ("Error: tls: x509: certificate signed by unknown authority", Unavailable, "certs.d/h2:5000/"),
        ("Error: dial tcp: lookup h2: no such host", Unavailable, "is the network up?"),
        ("Error: writing blob: no space left on device", Unavailable, "df -h"),
        ("Error: toomanyrequests: slow down", Unavailable, "gear login h2:5000"),
        ("Error: something new", Unavailable, "gear pull"),
        ("", Unavailable, "gear pull"),
    ],
)
def test_what_would_help(said: str, kind: type[Failure], hint: str) -> None:
    failure = pull_failure(NAME, said)
    assert isinstance(failure, kind)
    assert hint in failure.hint
    assert NAME in failure.message and "Error:" not in failure.message
