"""What a host needs for gears to have users of it."""

from __future__ import annotations

import re
from pathlib import Path

from geard.accounts.local_users import records_are_read
from geard.dispatch.work import Work
from geard.doctor.requests import Finding
from geard.host.process import run
from geard.host.storage import Changes, read_text

NSSWITCH = Path("/etc/nsswitch.conf")
ACCOUNTS = "/usr/lib/geard/gear-accounts"
_DATABASES = ("passwd", "group", "shadow")


async def users(work: Work) -> list[Finding]:
    """Have name look-ups find the records of gears' users; then those of all gears, as a recovery may need."""
    text = read_text(NSSWITCH) or ""
    found = Finding(what="users of gears", state="ok", detail="systemd user records")
    if not records_are_read(text):
        found = await work.on_disk(_switch, text)
    await run([ACCOUNTS])
    return [found]


def _switch(text: str) -> Finding:
    what = "users of gears"
    if not any(Path("/usr").glob("lib*/**/libnss_systemd.so.2")):
        detail = "made by useradd: there is no libnss_systemd.so.2"
        return Finding(what=what, state="advice", detail=detail, remedy="apt install libnss-systemd; gear setup")
    with Changes() as changes:
        changes.write(NSSWITCH, with_records(text))
    return Finding(what=what, state="made", detail=f"systemd in {NSSWITCH}")


def with_records(text: str) -> str:
    """nsswitch.conf(5) with systemd asked behind the files; all else as it was. Pure."""
    lines: list[str] = []
    missing: list[str] = list(_DATABASES)
    for line in text.splitlines():
        database, colon, rest = line.partition(":")
        if colon and database.strip() in _DATABASES:
            missing.remove(database.strip())
            services, hash, comment = rest.partition("#")
            if "systemd" not in services.split():
                behind = re.compile(r"\b(files|compat)\b|\s*$")
                rest = behind.sub(lambda found: f"{found[0].rstrip()} systemd", services, count=1)
                rest += f" {hash}{comment}" if hash and not rest.endswith(" ") else hash + comment
        lines.append(database + colon + rest)
    lines += [f"{database}: files systemd" for database in missing]
    return "".join(f"{line}\n" for line in lines)
