"""Base images to build on (docs/BUILDS.md), each a small one of the kind that people make.

Their scripts are those of examples/images/NAME, where the label of today's contract says they are.

    build-static    busybox: serves the source's files; saves what it made of them
    build-python    Python; a source with requirements of its own keeps them from build to build
    build-node      Node
    build-c         a C compiler: what it compiles runs on an image without one
    build-bare      assemble and nothing else, by the variable of 2014
    build-broken    an assemble script that fails in the middle of its work
    build-user      as build-static, as a user who is not root
"""

from lab.applications import FILES, Application
from lab.images import Image

SCRIPTS = "usr/libexec/s2i"
LABEL = "io.openshift.s2i.scripts-url"


def _image(name: str, *, user: str = "", labels: dict[str, str] | None = None, of: str = "") -> Image:
    folder = FILES / (of or name)
    files = {f"{SCRIPTS}/{path.name}": path.read_text() for path in sorted(folder.iterdir())}
    said = {LABEL: f"image:///{SCRIPTS}", **(labels or {})}
    return Image(name, (f"docker.io/geard/{name}",), ("/bin/sh",), files, "8080/tcp", labels=said, user=user)


def builders() -> tuple[Application, ...]:
    return (
        Application(_image("build-static"), ("busybox",), ()),
        Application(_image("build-user", of="build-static", user="1001"), ("busybox",), ()),
        Application(_image("build-bare"), ("busybox",), ()),
        Application(_image("build-broken"), ("busybox",), ()),
        Application(
            _image("build-python"),
            ("python3-minimal", "libpython3-stdlib"),
            ("usr/bin/python3",),
            ("usr/lib/python3*",),
        ),
        Application(_image("build-node"), ("nodejs",), ("usr/bin/node",)),
        Application(
            _image("build-c", labels={"io.openshift.s2i.assemble-input-files": "/out/program:bin"}),
            ("tcc", "libc6-dev"),
            ("usr/bin/tcc",),
            (
                "usr/include",
                "usr/lib/*/tcc",
                "usr/lib/*/crt[1in].o",
                "usr/lib/*/libc.so",
                "usr/lib/*/libc_nonshared.a",
            ),
        ),
    )
