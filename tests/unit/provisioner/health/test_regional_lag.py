"""How far behind a node of a secondary region is: said by whoever knows it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cachefleet.engine.metrics.samples import HostSample, Sample
from cachefleet.engine.metrics.valkey import CommandGroups, valkey_metrics
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.regional_lag import regional_lag_s


def sample(
    fields: Mapping[str, str] | None = None,
    *,
    lag_s: float | None = None,
    global_lag_s: float | None = None,
) -> Sample:
    return Sample(
        engine=Engine.VALKEY,
        at_s=1.0,
        pid=1,
        fields=fields or {},
        host=HostSample(cpu_percent=0.0, memory_available_bytes=0, swap_used_bytes=0),
        lag_s=lag_s,
        global_lag_s=global_lag_s,
    )


HEARD, SILENT = {"master_last_io_seconds_ago": "9"}, {"master_last_io_seconds_ago": "14"}
DOWN = {"master_link_down_since_seconds": "7"}


@pytest.mark.parametrize(
    ("fed", "told", "lag_s"),
    [
        pytest.param({}, sample(lag_s=1.0), None, id="it-leads"),
        pytest.param({"n": 0.25}, sample(DOWN, lag_s=1.0), 0.25, id="it-is-fed"),
        pytest.param({"n": None}, sample(lag_s=1.0), 1.0, id="its-primary-says"),
        pytest.param({"n": None}, sample(DOWN, lag_s=None), 7.0, id="it-has-lost-its-primary"),
        pytest.param({"n": None}, sample(), None, id="nobody-says"),
        pytest.param({"n": None}, sample(HEARD), 0.0, id="it-hears-from-another-cachefleet"),
        pytest.param({"n": None}, sample(SILENT), 14.0, id="it-hears-nothing-any-more"),
    ],
)
def test_who_says_how_far_behind_it_is(
    fed: Mapping[str, float | None], told: Sample, lag_s: float | None
) -> None:
    assert regional_lag_s("n", told, fed) == lag_s


def test_it_is_a_metric_where_it_is_known() -> None:
    name, groups = "GlobalDatastoreReplicationLag", CommandGroups()
    assert valkey_metrics(None, sample(global_lag_s=0.5), groups)[name] == 0.5
    assert name not in valkey_metrics(None, sample(), groups)
