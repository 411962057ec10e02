r"""The forms of an environment: on disk, as people write it, and as an engine reads it.

On disk it is `NAME="VALUE"`, one after another, with a backslash before each of " \ ` $: the same text means the
same to systemd (EnvironmentFile=, systemd.exec(5)) and to a shell. Start hooks import this module with nothing
but the standard library at hand, and wait for it: it stays small.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from geard.failures import Invalid

NAME_LIMIT = 1_024
VALUE_LIMIT = 32 * 1_024
TOTAL_LIMIT = 100 * 1_024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SPECIAL = re.compile(r'["\\`$]')
_ESCAPED = re.compile(r'\\(["\\`$])')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
NEVER = re.compile(
    "[\0\ud800-\udfff\ufdd0-\ufdef]|["
    + "".join(chr(p << 16 | e) for p in range(17) for e in (0xFFFE, 0xFFFF))
    + "]"
)

# What podman, the Go runtime, the loader or the C library act on when it stands in podman's own environment.
_OBEYED = re.compile(
    r"(LD|GLIBC|MALLOC|GO|XDG|CONTAINERS?|_CONTAINERS|PODMAN|STORAGE|LIBPOD|BUILDAH|CONMON|CRUN|RUST|NETAVARK|DBUS"
    r"|SYSTEMD|NOTIFY|LISTEN|WATCHDOG|JOURNAL|INVOCATION|REGISTRY|DOCKER|SSL|OTEL|GEAR|LC|NIS|RES)_.*"
    r"|(GO|LD).*|PATH|HOME|USER|SHELL|TMPDIR|TMP|TEMP|LANG|LANGUAGE|TZ|TZDIR|TERM|HOSTALIASES|LOCALDOMAIN|GCONV_PATH"
    r"|(?i:[a-z]+_proxy)|IFS|BASH_ENV|ENV|MAINPID|CREDENTIALS_DIRECTORY"
)


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise Invalid(
            f"{name[:80]!r} cannot name a variable",
            hint="letters, digits, '_', '.' and '-', the first a letter or '_', at most 1024",
        )


def check_variable(name: str, value: str) -> None:
    """Raises Invalid for what could not arrive in a container exactly as it is."""
    check_name(name)
    if NEVER.search(value):
        raise Invalid(
            f"the value of {name} cannot be carried",
            hint="text in UTF-8 without NUL and without Unicode noncharacters; encode the rest, say in base64",
        )
    if len(value.encode()) > VALUE_LIMIT:
        raise Invalid(f"the value of {name} is longer than {VALUE_LIMIT} bytes", hint="mount a file instead")
    if _needs_lines(value) and (_OBEYED.fullmatch(name) or not _PLAIN.fullmatch(name)):
        # It goes through an EnvironmentFile=, where systemd passes over names that no shell knows, and through
        # the engine's own environment.
        raise Invalid(
            f"{name} cannot have a value of several lines",
            hint="the engine would act on that variable itself; another name, or one line, works"
            if _PLAIN.fullmatch(name)
            else "one line, or a name without '.' and '-', works",
        )


def check_variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        check_variable(name, value)
    if sum(len(name) + len(value.encode()) + 4 for name, value in variables.items()) > TOTAL_LIMIT:
        raise Invalid(f"an environment of more than {TOTAL_LIMIT} bytes", hint="mount a file instead")


def render(variables: Mapping[str, str]) -> str:
    """The file on disk."""
    return "".join(f'{name}="{escape(value)}"\n' for name, value in variables.items())


def escape(value: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", value)


def parse(text: str) -> dict[str, str]:
    """The file on disk, also where an admin has written into it: plain NAME=VALUE, '…', # and ; are understood."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        name, equals, value = text[at:end].partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            at = end + 1
            continue
        quoted = _QUOTED.match(text, end - len(value))
        if quoted is not None:
            found[name] = _ESCAPED.sub(r"\1", quoted[1])
            end = text.find("\n", quoted.end())
            at = len(text) if end < 0 else end + 1
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] == "'":
            value = value[1:-1]
        found[name] = value
        at = end + 1
    return found


def parse_argument(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as given on a command line: a shell has read it already, so the value is taken as it is."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"{text!r} is no variable", hint="NAME=VALUE")
    check_variable(name.lstrip(), value)
    return name.lstrip(), value


def parse_lines(text: str, complain: list[str] | None = None) -> dict[str, str]:
    r"""What an `--env-file` or the answer of an `--env-url` holds: NAME=VALUE lines.

    A value that is a whole "…" or `…` is unquoted, any other is taken as it is without the blanks around it:
    blanks that matter, and several lines, stand in "…".
    Lines without '=' and comments are passed over; those with an impossible name go into `complain`.
    """
    found: dict[str, str] = {}
    for line in text.split("\n"):  # splitlines() would also break at U+2028 and the like
        name, equals, value = line.removesuffix("\r").partition("=")
        name = name.lstrip()
        if not equals or name.startswith("#"):
            continue
        if not _NAME.fullmatch(name):
            if complain is not None:
                complain.append(name)
            continue
        found[name] = _unquote(value.strip())
    return found


def render_lines(variables: Mapping[str, str]) -> str:
    """Lines that `parse_lines` reads as just these variables: as they are, but quoted where they must be."""
    return "\n".join(map(_line, variables.items()))


def _line(variable: tuple[str, str]) -> str:
    name, value = variable
    plain = f"{name}={value}"
    if parse_lines(plain) == {name: value}:
        return plain
    known = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return f'{name}="{"".join(known.get(c, c) for c in value)}"'


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != value[-1]:
        return value
    inner = value[1:-1]
    if value[0] == "`" and "`" not in inner:
        return inner
    if value[0] == '"' and re.fullmatch(r'(?:[^"\\]|\\[abfnrtv\\"\'])*', inner):
        known = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
        return re.sub(r"\\(.)", lambda found: known.get(found[1], found[1]), inner)
    return value


def _needs_lines(value: str) -> bool:
    return "\n" in value or value.endswith("\r")


def split_for_podman(variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The text of podman's --env-file, and what has to go another way.

    The file is exact and harmless for every name, but a value ends with its line; a value of several lines
    stands in the environment of podman itself and is named by `--env NAME`.
    """
    plain = [f"{name}={value}\n" for name, value in variables.items() if not _needs_lines(value)]
    return "".join(plain), {name: value for name, value in variables.items() if _needs_lines(value)}


def render_for_systemd(variables: Mapping[str, str], options: Iterable[str]) -> str:
    """An EnvironmentFile= with `variables`, and GEAR_ENV: the options by which podman takes them."""
    words = " ".join(f'\\"{option}\\"' for option in options)
    return render(variables) + f'GEAR_ENV="{words}"\n'
