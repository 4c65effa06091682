"""The sockets that a process listens on, by the kernel's tables."""

import ipaddress
import os
import re
from pathlib import Path

LISTENING = "0A"
INODE = re.compile(r"socket:\[(\d+)\]")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _inodes(pid: int) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = INODE.fullmatch(os.readlink(fd))
        except OSError:  # closed in the meantime
            continue
        if match:
            found.add(match[1])
    return found


def _address(words: str) -> Address:
    """Decode an address: the kernel writes words of 32 bits, each in the machine's order."""
    raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    found = ipaddress.ip_address(raw)
    return getattr(found, "ipv4_mapped", None) or found


def sockets(pid: int) -> set[tuple[Address, int]]:
    """Address and port of the TCP sockets on which this process listens."""
    mine, found = _inodes(pid), set()
    for name in ("tcp", "tcp6"):
        table = Path(f"/proc/{pid}/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            _, local, _, state, *rest = line.split()
            if state == LISTENING and rest[5] in mine:
                words, _, port = local.partition(":")
                found.add((_address(words), int(port, 16)))
    return found
