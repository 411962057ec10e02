"""Names of images: which are names, and what they are completed to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.failures import Denied, Failure, Invalid, NotFound, Unavailable
from geard.images.names import check_image, complete_name, pull_key
from geard.images.pulling import pull_failure

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("openshift/busybox-http-app", "docker.io/openshift/busybox-http-app:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/mine", "localhost/mine:latest"),
        ("localhost:5000/mine:x", "localhost:5000/mine:x"),
        ("quay.io/a/b", "quay.io/a/b:latest"),
        ("registry:5000/a", "registry:5000/a:latest"),
        ("10.0.0.1:5000/a", "10.0.0.1:5000/a:latest"),
        ("[fd00::1]:5000/a", "[fd00::1]:5000/a:latest"),
        ("EXAMPLE.com/a", "EXAMPLE.com/a:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("a__b/c--d/e.f_g", "docker.io/a__b/c--d/e.f_g:latest"),
        ("b" * 64, "b" * 64),
        (DIGEST, DIGEST),
    ],
)
def test_a_name_is_completed(text: str, full: str) -> None:
    assert complete_name(text) == full
    assert complete_name(full) == full


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "-x",
            "--help",
            "Nginx",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "a:",
            ":a",
            "a@",
            "a:b:c",
            "a b",
            "a\nb",
            "a\0",
        ),
        *(
            "a@sha256:abc",
            f"a@md5:{'a' * 32}",
            "a/../b",
            "../a",
            ".a",
            "a.",
            "a_",
            "a___b",
            "a..b",
            "nginx:-x",
            "nginx:.x",
        ),
        *("http://a/b", "docker://a", "a?b", "a#b", "a%20b", "$(x)", "`x`", "a;b", "a|b", "a&b", "ä", "a" * 513),
        *("a:" + "x" * 129, "oci-archive:/etc/passwd", "dir:/tmp", "nginx\n", "-a/b", "a-/b", "a:70000000/b"),
    ],
)
def test_no_name(text: str) -> None:
    with pytest.raises(Invalid):
        check_image(text)


@given(st.text("abz09-_./:@AZ \n$", max_size=30))
def test_what_is_a_name_is_no_option_and_has_one_full_form(text: str) -> None:
    try:
        check_image(text)
    except Invalid:
        return
    assert not text.startswith("-")
    assert not set(text) & set(" \n\0$")
    assert complete_name(complete_name(text)) == complete_name(text)


def test_the_key_of_a_pull_is_safe_and_its_own() -> None:
    one, other = pull_key("docker.io/a:1"), pull_key("docker.io/a:2")
    assert one != other
    assert len(one) == 32
    assert one.isalnum()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Error: reading manifest 9 in docker.io/x: manifest unknown", NotFound),
        ("Error: name unknown: repository name not known to registry", NotFound),
        ("Error: initializing source: unauthorized: authentication required", Denied),
        ("Error: requested access to the resource is denied", Denied),
        ("Error: dial tcp: lookup registry.example.com: no such host", Unavailable),
        ("Error: dial tcp: lookup registry: server misbehaving", Unavailable),
        ("Error: connection refused", Unavailable),
        ("Error: toomanyrequests: You have reached your pull rate limit", Unavailable),
        ("", Unavailable),
    ],
)
def test_why_a_registry_said_no(words: str, kind: type[Failure]) -> None:
    failure = pull_failure("docker.io/x:1", words)
    assert type(failure) is kind
    assert "docker.io/x:1" in failure.message


@pytest.mark.parametrize(
    "words",
    [
        "Error: dial tcp: lookup registry.example.com: host not found",
        "Error: executable file not found in $PATH",
        "Error: dial unix /run/x.sock: permission denied",
    ],
)
def test_an_outage_is_not_taken_for_the_registrys_no(words: str) -> None:
    """NotFound and Denied end a gear for good; only the registry's own word may."""
    assert type(pull_failure("docker.io/x:1", words)) is Unavailable
