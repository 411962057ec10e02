"""Which URLs an asker without the scope admin may have fetched."""

from __future__ import annotations

import pytest

from geard.environments.sources import permitted

ALLOWED = ("https://config.example/web/", "http://a.example:8080/x")


@pytest.mark.parametrize(
    "url",
    [
        "https://config.example/web/",
        "https://config.example/web/prod.env",
        "https://CONFIG.example/web/a/b?c=d",
        "http://a.example:8080/x",
        "http://a.example:8080/x/y",
    ],
)
def test_permitted(url: str) -> None:
    assert permitted(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://config.example/",
        "https://config.example/website",
        "https://config.example/web/../secret",
        "https://config.example/web/%2e%2e/secret",
        "https://config.example/web/..%2fsecret",
        "https://config.example:444/web/a",
        "http://config.example/web/a",
        "https://config.example@evil.example/web/a",
        "https://config.example.evil.example/web/a",
        "https://x:y@config.example/web/a",
        "https://config.example\\@evil.example/web/",
        "http://a.example:8080/xy",
        "http://a.example:x/x",
        "http://[::1/x",
    ],
)
def test_not_permitted(url: str) -> None:
    assert not permitted(url, ALLOWED)
    assert not permitted(url, ())
