"""What a server has done, as Prometheus reads it."""

import threading
from bisect import bisect_left
from collections import defaultdict

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str = "") -> list[str]:
        """Return the lines of Prometheus' text format, without its ``# TYPE``."""
        found, total = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {total}')
        braced = f"{{{labels}}}" if labels else ""
        return [*found, f"{name}_sum{braced} {self._sum:.6f}", f"{name}_count{braced} {total}"]


class Counters:
    """Requests by path and status, how long they took, and how many rows were computed together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self._rows = Histogram(ROWS)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; ``path`` is one that the server knows, or there would be no end of them."""
        with self._lock:
            self._requests[path, status] += 1
            self._seconds[path].observe(seconds)

    def batch(self, rows: int) -> None:
        """Count a batch of predictions."""
        with self._lock:
            self._rows.observe(rows)

    def text(self, *, waiting: int) -> str:
        """Return all of it, in Prometheus' text format 0.0.4."""
        with self._lock:
            lines = [
                "# HELP lightune_requests_total Requests answered.",
                "# TYPE lightune_requests_total counter",
            ]
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f'lightune_requests_total{{path="{path}",status="{status}"}} {count}')
            lines += [
                "# HELP lightune_request_seconds Time from a request's arrival to the end of its answer.",
                "# TYPE lightune_request_seconds histogram",
            ]
            for path, histogram in sorted(self._seconds.items()):
                lines += histogram.lines("lightune_request_seconds", f'path="{path}"')
            lines += [
                "# HELP lightune_batch_rows Texts that the model read together.",
                "# TYPE lightune_batch_rows histogram",
                *self._rows.lines("lightune_batch_rows"),
                "# HELP lightune_waiting Texts and other work that wait for the model.",
                "# TYPE lightune_waiting gauge",
                f"lightune_waiting {waiting}",
            ]
        return "\n".join(lines) + "\n"
