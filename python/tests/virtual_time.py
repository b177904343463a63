"""An event loop whose clock moves when the test says so."""

import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: `settle` runs what is due now, `advance` moves the clock from timer to timer."""

    def __init__(self):
        super().__init__()
        self.now_ms = 0.0
        self._clock_resolution = 1e-6

    def time(self):
        return self.now_ms / 1000

    def settle(self):
        """Runs until only timers are left."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready and self._next_ms() > self.now_ms:
                return

    def advance(self, milliseconds, until=lambda: False):
        """Moves the clock, at most to where `until` is true."""
        end = self.now_ms + milliseconds
        while not until() and (next_ms := self._next_ms()) <= end:
            self.now_ms = max(self.now_ms, next_ms)
            self.settle()
        if not until():
            self.now_ms = end

    def run(self, function):
        """Calls a function inside of the loop, and runs what follows from it."""
        results = []
        self.call_soon(lambda: results.append(_outcome(function)))
        self.settle()
        result, error = results[0]
        if error is not None:
            raise error
        return result

    def _next_ms(self):
        times = [handle.when() for handle in self._scheduled if not handle.cancelled()]
        # Rounded, so that sums of seconds meet sums of milliseconds.
        return round(min(times) * 1000, 3) if times else float("inf")


def _outcome(function):
    try:
        return function(), None
    except Exception as error:
        return None, error
