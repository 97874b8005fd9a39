"""The metrics that Airflow's real processes send: task, triggerer and api-server alike."""

from __future__ import annotations

from airflow_kie.metrics import METRICS
from song_stack import SongStack, eventually
from statsd_listener import StatsdListener
from system.conftest import Begun

ONLY_WHEN_SOMETHING_IS_WRONG = {"kie.adopted", "kie.made_twice", "kie.retried", "kie.rescheduled", "kie.throttled"}


def test_songs_callbacks_and_kie_ops_send_every_metric_of_the_table_and_no_other_of_its_name(
    songs: SongStack, begun: Begun, statsd: StatsdListener
) -> None:
    songs.wait_archived([*begun.good, *begun.with_events])
    songs.ended("music_cover", begun.form)  # with the song that KIE has refused
    songs.ended("kie_ops", songs.trigger("kie_ops"))

    def sent() -> set[str]:
        sent = [sample for sample in statsd.samples if sample.value or sample.kind != "c"]  # a 0 only begins a counter
        return {sample.name.removeprefix("airflow.") for sample in sent}

    eventually(lambda: sent() >= set(METRICS) - ONLY_WHEN_SOMETHING_IS_WRONG, "every metric was sent")
    assert sent() <= set(METRICS)
    for sample in statsd.samples:
        assert set(sample.tags) == set(METRICS[sample.name.removeprefix("airflow.")].tags), sample
    ours = [line for line in statsd.lines if line.startswith("airflow.kie.")]
    assert [line for line in ours for song in (*begun.good, *begun.with_events) if song in line] == []
    sources = {
        sample.tags["completion_source"]
        for sample in statsd.samples
        if sample.name == "airflow.kie.done" and sample.value
    }
    assert "callback" in sources
