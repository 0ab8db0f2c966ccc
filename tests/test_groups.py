"""Costly shared parts are built once: tests of one group reach one worker, whatever pytest and xdist call them."""

import pytest


@pytest.mark.xdist_group("kept_together")
def test_a_worker_tells_the_group_of_a_test_to_the_scheduler(request):
    is_grouped = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@kept_together") or not is_grouped


def test_a_test_without_a_group_is_named_by_itself(request):
    assert "@" not in request.node.nodeid
