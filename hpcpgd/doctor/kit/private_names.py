"""Names of people, nodes and folders, and the words that replace them in files for others."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import hpcpgd
from hpcpgd.environment.programs import answer_of

ASK_SECONDS = 20.0
USER_VARIABLES = ("USER", "LOGNAME", "SLURM_JOB_USER")
RESOLVER = Path("/etc/resolv.conf")
# First parts of paths that are the same on all machines.
SYSTEM = ("dev", "proc", "sys", "bin", "sbin", "lib", "lib64", "etc", "usr")
# Folders with files of hpcpgd or of Python packages: paths within them are not replaced.
OPEN = ("<kit>", "<private>", "<python>", "<hpcpgd>")

# A name does not begin or end between two letters or digits.
_BEFORE, _AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_NAME = f"{_BEFORE}{{}}{_AFTER}"
_HOST = rf"{_BEFORE}{{}}(?:\.[A-Za-z][\w-]*)*{_AFTER}"
_RANGE = rf"{_BEFORE}{{}}\[[\d,-]+\]"  # of hosts, as SLURM writes them
_DOMAIN = rf"(?:[\w-]+\.)*{{}}{_AFTER}"
_FOLDER = r"{}(?![\w-]|\.\w)"
_LETTER = r"(?:<\w+>|[^/\s\"'`,:;|<>()\[\]{}])"  # of a path that is in no list
_PATH = re.compile(
    rf"(?P<root><\w+>|~[\w.-]*|(?<![\w.])\.\.?|(?<![\w.>)\]~/-]))(?P<rest>(?:/{_LETTER}+)+/?)"
)
_TECHNICAL = re.compile(r"s?bin/[^/]+$|[^/]+\.py$|[^/]+\.so(\.\d+)*$")
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"
    r"|(?<![\w:])(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{1,4}(?![\w:])"
)
# Open MPI prints who built it, and on which host.
_MAIL = re.compile(r"(?:<\w+>|[\w.+-])+@(?:<\w+>|[\w-])[\w.-]*")


def users() -> list[str]:
    """Return the names of this user."""
    names = [os.environ.get(name, "") for name in USER_VARIABLES]
    with suppress(KeyError):  # a container may have no entry for its user
        entry = pwd.getpwuid(os.getuid())
        names += [entry.pw_name, entry.pw_gecos.split(",")[0]]
    return [name for name in dict.fromkeys(names) if name]


def homes() -> list[str]:
    """Return the home folders of this user."""
    folders = [os.environ.get("HOME", "")]
    with suppress(KeyError):
        folders.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [path for path in folders if path.startswith("/")]


def hosts_of_job() -> list[str]:
    """Return the nodes that SLURM gave to this job, in its order, then this machine."""
    if "SLURM_JOB_NODELIST" not in os.environ:
        return [socket.gethostname()]
    ask = ("scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"])
    return [*answer_of(ask, ASK_SECONDS).split(), socket.gethostname()]


def numbered(hosts: Iterable[str]) -> dict[str, str]:
    """Return ``node1`` to ``nodeN`` for hosts in their order, whatever their domains are."""
    words: dict[str, str] = {}
    for host in hosts:
        short = host.split(".")[0]
        if short and short != "localhost" and not _ADDRESS.fullmatch(host):
            words.setdefault(short, f"node{len(words) + 1}")
    login = os.environ.get("SLURM_SUBMIT_HOST", "").split(".")[0]
    if login:
        words.setdefault(login, "login")
    return words


def domains(hosts: Iterable[str]) -> set[str]:
    """Return the domains of hosts and the search domains of this machine."""
    names = {host.partition(".")[2] for host in hosts if not _ADDRESS.fullmatch(host)}
    with suppress(OSError):
        for line in RESOLVER.read_text(errors="replace").splitlines():
            if line.startswith(("search", "domain")):
                names |= {word.strip(".") for word in line.split()[1:]}
    return names - {""}


def folders(kit: Path, private: Path, doctors: Path) -> dict[str, str]:
    """Return the folders with known names, each with the word that replaces it."""
    named = (
        (kit, "<kit>"), (private, "<private>"), (Path.cwd(), "<folder>"), (doctors, "<folder>"),
        *((Path(home), "<home>") for home in homes()), (Path(sys.prefix), "<python>"),
        (Path(sys.base_prefix), "<python>"), (Path(hpcpgd.__file__).parent, "<hpcpgd>"),
        (Path(tempfile.gettempdir()), "<tmp>"),
    )  # fmt: skip
    words: dict[str, str] = {}
    for path, word in named:
        for text in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100  (keeps links)
            if text != "/" and not _public(text):
                words.setdefault(text, word)
    return words


def scrubber(
    hosts: Mapping[str, str], seen: Iterable[str], places: Mapping[str, str]
) -> Callable[[str], str]:
    """Return a function that replaces names, hosts, addresses and paths in a text.

    Parameters
    ----------
    hosts : mapping
        Short names of nodes, each with the word that replaces it.
    seen : iterable of str
        Full names of hosts, whose domains are replaced.
    places : mapping
        Folders, each with the word that replaces it.
    """
    known = [*_known(hosts, seen), *((text, _FOLDER, word) for text, word in places.items())]
    forms = {(form, shape): word for text, shape, word in known for form in _forms(text)}
    # The longest comes first, but hosts come before domains.
    order = sorted(forms, key=lambda one: (forms[one] != "<domain>", len(one[0])), reverse=True)
    words = [forms[one] for one in order]
    literal = re.compile("|".join(f"({shape.format(re.escape(form))})" for form, shape in order))

    def scrub(text: str) -> str:
        text = literal.sub(lambda match: words[(match.lastindex or 1) - 1], text)
        text = _MAIL.sub("<user>@<host>", _PATH.sub(_shortened, text))
        return _ADDRESS.sub("<address>", text)

    return scrub


def _known(hosts: Mapping[str, str], seen: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield names, the pattern of each, and the word that replaces it."""
    for user in users():
        yield user, _NAME, "<user>"
    account = os.environ.get("SLURM_JOB_ACCOUNT", "")
    if account:
        yield account, _NAME, "<account>"
    for host, word in hosts.items():
        yield host, _HOST, word
        stem = host.rstrip("0123456789")
        if stem and stem != host:
            yield stem, _RANGE, "<nodes>"
    for domain in domains(seen):  # a single word, such as local, is a domain only after a name
        yield domain, _DOMAIN.replace("*", "*" if "." in domain else "+", 1), "<domain>"


def _forms(text: str) -> set[str]:
    """Return the forms of a name in texts, lines, JSON and TOML, also if it is not UTF-8."""
    quoted = {json.dumps(text, ensure_ascii=strict)[1:-1] for strict in (True, False)}
    forms = {text, text.encode("utf-8", "backslashreplace").decode(), *quoted}
    return forms | {" ".join(form.split()) for form in forms}


def _public(path: str) -> bool:
    first = path.split("/")[1]
    return first in SYSTEM and not path.startswith("/usr/local/")


def _shortened(match: re.Match[str]) -> str:
    """Return the public part of a path: all of a system path, else the kind of file."""
    root, rest = match["root"], match["rest"]
    if root in OPEN or (not root and _public(rest)):
        return match[0]
    name = _TECHNICAL.search(rest)
    known = root if root.startswith("<") else "<home>" if root.startswith("~") else "<path>"
    last = name[0].rpartition("/")[2] if name else "" if known == "<path>" else "..."
    return f"{known}/{last}".rstrip("/")
