"""Whatever form the machine's apt sources have, the Debian mirror among them is found."""

from lab.apt import Source, choose_mirror, parse_deb822, parse_one_line, parse_settings

VENDOR = Source("http://vendor.invalid/apt", ("tools-trixie",), ("main",))
SECURITY = Source("http://mirror.invalid/debian-security", ("trixie-security",), ("main",))
DEBIAN = Source("http://mirror.invalid/debian", ("trixie", "trixie-updates"), ("main", "contrib"))


def test_deb822_with_comments_folding_and_a_disabled_stanza() -> None:
    text = """\
# made by the installer
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: trixie
# in between
 trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://sources.invalid/debian
Suites: trixie
Components: main

Types: deb
URIs: http://off.invalid/debian
Suites: trixie
Components: main
Enabled: no
"""
    assert parse_deb822(text) == [DEBIAN]


def test_one_line_with_options_and_comments() -> None:
    text = """\
# deb http://commented.invalid/debian trixie main
deb-src http://mirror.invalid/debian trixie main
deb [arch=amd64 signed-by=/etc/apt/k.gpg] http://vendor.invalid/apt tools-trixie main
  deb http://mirror.invalid/debian trixie main contrib # ours
"""
    assert parse_one_line(text) == [VENDOR, Source(DEBIAN.address, ("trixie",), ("main", "contrib"))]


def test_the_mirror_is_no_vendor_and_no_security_archive() -> None:
    assert choose_mirror([VENDOR, SECURITY, DEBIAN]) == "http://mirror.invalid/debian"
    assert choose_mirror([VENDOR, SECURITY]) is None


def test_settings_are_what_reaching_a_mirror_needs() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire::http "";
Acquire::http::Proxy "http://proxy.invalid:3128";
Acquire::https::Proxy "";
Acquire::Check-Valid-Until "false";
"""
    assert parse_settings(dump) == [
        'Acquire::http::Proxy "http://proxy.invalid:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]
