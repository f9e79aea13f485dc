"""Ctrl-C and its like, as a driver hears them that watches over its cells."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stop:
    """Signals received: the first asks the cells to save and end, the second kills them.

    A terminal that is closed sends SIGHUP, often twice: it is never the second.
    """

    signals: list[int] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A signal that the driver was started to ignore, as nohup does, stays ignored."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        previous = {
            number: signal.signal(number, lambda n, _: self._receive(n)) for number in heeded
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int) -> None:
        if number != signal.SIGHUP or not self.signals:
            self.signals.append(number)
