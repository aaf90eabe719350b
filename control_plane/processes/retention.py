"""The collector over a ground: of the orchestrator, and of `vsc gc`."""

from datetime import timedelta

from control_plane.processes.ground import Ground
from control_plane.retention.collector import Collector
from control_plane.retention.rules import Keep
from control_plane.settings import RetentionSettings


def collector_of(ground: Ground[RetentionSettings]) -> Collector:
    """It keeps what the settings say, for as long as they say."""
    settings = ground.settings
    keep = Keep(
        results=timedelta(days=settings.keep_results_days),
        logs=timedelta(days=settings.keep_logs_days),
        outputs=timedelta(days=settings.keep_outputs_days),
        prepared=timedelta(days=settings.keep_prepared_days),
        unnamed=timedelta(hours=settings.keep_unnamed_hours),
    )
    return Collector(ground.sessions, ground.blobs, ground.mirrors, keep)
