"""The target ratios for Tokenweir, as data."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import Results, Sample
from benchmarks.serving.run import ENCODERS
from benchmarks.ways import PEERS

__all__ = ["TARGETS", "Target", "missed"]


@dataclass(frozen=True)
class Target:
    """One ratio: the cost by one way, divided by the cost by another.

    Args:
        scenario: The scenario.
        metric: The metric.
        over: The way in the numerator.
        under: The way in the denominator; ``None`` if the metric is itself a ratio.
        wanted: The least or the greatest value.
        at_most: Whether smaller is better.
    """

    scenario: str
    metric: str
    over: str
    under: str | None
    wanted: float
    at_most: bool = False

    def measured(self, results: Results) -> Sample | None:
        """The measured ratio; ``None`` if the run did not measure it."""
        if self.under is not None:
            return results.ratio(self.scenario, self.metric, self.over, self.under)
        values = results.values(self.scenario, self.over, self.metric)
        return Sample.of(values) if values else None

    def is_met(self, measured: float) -> bool:
        """Whether a measured ratio meets the target."""
        return measured <= self.wanted if self.at_most else measured >= self.wanted

    def verdict(self, measured: float) -> str:
        """``met``, or ``missed`` with the distance relative to the target."""
        if self.is_met(measured):
            return "met"
        return f"missed by {100 * abs(measured - self.wanted) / self.wanted:.0f} %"


TARGETS = (
    Target("burst", "1", "plain", "ours", 3),
    Target("burst", "300", "plain", "ours", 12),
    Target("burst", "3000", "plain", "ours", 20),
    Target("burst", "3000", "plain", "plain+model", 14),
    Target("burst", "3000", "ours", "raw", 2, at_most=True),
    Target("burst", "3000", "plain-events", "ours-events", 10),
    Target("paced", "50", "plain", "ours", 7),
    Target("paced", "50", "plain", "plain+model", 3),
    Target("paced", "marginal", "plain", "ours", 5),
    Target("paced", "marginal", "ours", "raw", 2, at_most=True),
    Target("filtered", "50", "plain", "ours", 12),
    Target("agent", "burst", "plain", "ours", 4),
    Target("agent", "paced", "plain", "ours", 4),
    Target("tools", "tools", "plain", "ours", 5),
    Target("tools", "cut", "plain", "ours", 50),
    Target("logprobs", "us/token", "plain", "ours", 6),
    *(
        Target(scenario, tokens, peer, "ours", 5)
        for scenario, tokens in (("burst", "3000"), ("paced", "50"))
        for peer in PEERS
    ),
    *(
        target
        for streams in (50, 100, 200, 500)
        for target in (
            Target(f"serve-{streams}", "us/token", "fastapi", "serve", 6),
            Target(f"serve-{streams}", "us/token", "serve", "proxy", 1.3, at_most=True),
            Target(f"serve-{streams}", "us/token", "serve", "serve-memory", 1.3, at_most=True),
            Target(f"serve-{streams}", "p99", "serve", None, 5, at_most=True),
        )
    ),
    # With more streams, the tokens of those that have begun are most of it.
    Target("serve-50", "ms/start", "serve", None, 3, at_most=True),
    Target("serve-800", "pace", "serve", None, 99),
    Target("serve-1200", "pace", "serve", None, 99),
    *(
        Target("serve-protocols-100", "us/token", way, "serve", 1.5, at_most=True)
        for way in ENCODERS
    ),
    Target("cluster-100", "us/token", "serve-postgres", "serve", 1.3, at_most=True),
    Target("cluster-30", "us/all", "aegra", "serve-postgres-langgraph", 5),
    Target("cluster-100", "p99", "serve-elsewhere", None, 20, at_most=True),
    Target("cluster-100", "p99", "serve-elsewhere-nats", None, 5, at_most=True),
    Target("import", "ms", "import tokenweir", "import langgraph", 1.0, at_most=True),
    # Flat is 1; two slopes of one run differ by this much by chance.
    *(
        Target(scenario, "growth", way, None, 1.3, at_most=True)
        for scenario in ("growth-text", "growth-tools", "growth-cut", "growth-streams")
        for way in ("ours", "ours-collect", "ours-lanes")
        if (scenario, way) != ("growth-streams", "ours-collect")
    ),
    Target("growth-tools", "growth", "ours-objects", None, 1.3, at_most=True),
)


def missed(results: Results) -> list[str]:
    """The targets that a run measured and missed, in words."""
    return [
        f"{target.scenario}, {target.metric}, {target.over} / {target.under or 'itself'}"
        for target in TARGETS
        if (found := target.measured(results)) and not target.is_met(found.median)
    ]
