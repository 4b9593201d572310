"""What a process asks of glibc's malloc, which every thread and library of it shares."""

from __future__ import annotations

import ctypes
import platform

M_MXFAST, M_ARENA_MAX = 1, -8  # malloc.h


def ask(parameter: int, value: int) -> None:
    """Set one of its parameters; nothing where another C library is, which has its own ways."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(parameter, value)


def give_back() -> None:
    """Give the kernel back all whole pages that are free; 3 to 10 ms where 200 MB are in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
