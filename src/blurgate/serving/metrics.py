"""What the service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from blurgate.version import __version__

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """All that is counted; nothing of it says who asked, or what for.

    Parameters
    ----------
    fingerprint : str
        Of the model.
    """

    def __init__(self, fingerprint: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        about = Gauge("blurgate_info", "Version and model.", ["version", "fingerprint"], registry=registry)
        about.labels(__version__, fingerprint).set(1)
        self.requests = Counter(
            "blurgate_requests", "Requests answered, by address and status.", ["path", "status"], registry=registry
        )
        self.latency = Histogram(
            "blurgate_request_seconds",
            "From the head of a request to the end of its answer, its upload included.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.reading = Histogram(
            "blurgate_reading_seconds", "Decoding of a photo.", buckets=_SECONDS, registry=registry
        )
        self.judging = Histogram(
            "blurgate_judging_seconds",
            "Measuring and judging of a photo, and drawing its map if asked for.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.decisions = Counter("blurgate_decisions", "Photos judged, by decision.", ["decision"], registry=registry)
        self.rejected = Counter(
            "blurgate_rejected", "Requests and photos not judged, by problem.", ["problem"], registry=registry
        )
        self.queue = Gauge("blurgate_queue", "Requests that wait or are judged now.", registry=registry)
        self.workers = Gauge("blurgate_workers", "Processes that are ready to judge.", registry=registry)
        self.restarts = Counter("blurgate_worker_restarts", "Processes that died.", registry=registry)

    def encode(self) -> bytes:
        """Encode everything in Prometheus' text format."""
        return generate_latest(self._registry)
