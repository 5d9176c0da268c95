"""What the datapath's edge says when it cannot: the operation, why, and the next safe step."""

from __future__ import annotations

import errno
import os

from onehop.model.reason import Reason, Refusal

_BY_ERRNO = {
    errno.EPERM: (Reason.CAPABILITY_MISSING, "the kernel refuses it to this process"),
    errno.EACCES: (Reason.CAPABILITY_MISSING, "the kernel refuses it to this process"),
    errno.ENOMEM: (
        Reason.DATAPATH_FAILED,
        "its memory limit is reached",
    ),
    errno.E2BIG: (Reason.MAP_FULL, "the map has no room for another entry"),
    errno.ENODEV: (Reason.LINK_FAILED, "the link is gone"),
}
_STEPS = {
    Reason.CAPABILITY_MISSING: "grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or start with"
    " --datapath=none",
    Reason.MAP_FULL: "remove Services that are not needed, or raise the map's capacity",
    Reason.KERNEL_LACKS: "start with --datapath=none",
}
_RETRY = "what stood before is untouched; it is tried again"


class DatapathError(Exception):
    """An operation of the datapath failed.

    `reason` is what the decision, the log and `explain` show; `next_step` is what is safe to do.
    """

    def __init__(self, operation: str, why: str, next_step: str = "", *, reason: Reason) -> None:
        self.operation = operation
        self.why = why
        self.next_step = next_step or _STEPS.get(reason, _RETRY)
        self.reason = reason
        super().__init__(f"{operation}: {why}; {self.next_step}")

    @property
    def refusal(self) -> Refusal:
        """The error as the value that everything above reads."""
        return Refusal(reason=self.reason, detail=f"{self.operation}: {self.why}")


class KernelError(DatapathError):
    """A system call failed; `errno` is the kernel's answer."""

    def __init__(self, operation: str, number: int, why: str = "") -> None:
        reason, sentence = _BY_ERRNO.get(number, (Reason.DATAPATH_FAILED, os.strerror(number)))
        self.errno = number
        super().__init__(operation, why or sentence, reason=reason)
