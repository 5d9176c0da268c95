"""What is wrong with objects, with a kind or with the store: said when it begins and ends."""

from __future__ import annotations

from collections.abc import Iterable

from onehop.adapters.telemetry import Log
from onehop.model.reason import Problem


class ProblemLog:
    """A line for each problem that turns up, and one when it is gone."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: frozenset[Problem] = frozenset()

    def __len__(self) -> int:
        """How many there are now."""
        return len(self._told)

    def tell(self, problems: Iterable[Problem]) -> None:
        """These there are now."""
        now = frozenset(problems)
        if now == self._told:
            return
        for problem in sorted(now - self._told, key=str):
            self._log("problem", what=str(problem))
        for problem in sorted(self._told - now, key=str):
            self._log("solved", what=str(problem))
        self._told = now
