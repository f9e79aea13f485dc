"""Ctrl-C and its like, as a driver hears them that watches over its cells."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stop:
    """Signals received: the first asks the cells to save and end, the second kills them."""

    signals: list[int] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A signal that the driver was started to ignore, as nohup does, stays ignored."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        previous = {
            number: signal.signal(number, lambda n, _: self.signals.append(n)) for number in heeded
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
