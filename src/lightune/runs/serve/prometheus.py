"""The server's Prometheus metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one server; ``path`` must be one of its routes, or the number of series has no bound."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        about = "Time from a request's arrival to the end of its answer."
        self.requests = Counter("lightune_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram("lightune_request_seconds", about, ["path"], buckets=SECONDS, registry=registry)
        about = "Texts that the model read together."
        self.batch_rows = Histogram("lightune_batch_rows", about, buckets=ROWS, registry=registry)
        about = "Texts and other work that wait for the model."
        self.waiting = Gauge("lightune_waiting", about, registry=registry)

    def text(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()
