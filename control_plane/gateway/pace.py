"""How often one door may be asked: a bucket of tokens, so that a flood ends at the door."""

from collections.abc import Callable


class Pace:
    """Lets `at_once` requests through, and from then on `per_s` in a second of `clock`."""

    def __init__(self, at_once: int, per_s: float, clock: Callable[[], float]) -> None:
        self._most, self._per_s, self._clock = float(at_once), per_s, clock
        self._left, self._at = self._most, clock()

    def admits(self) -> bool:
        """Whether one more may pass now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
