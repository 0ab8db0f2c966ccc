"""A platform that was killed starts again: its unfinished runs no longer hold their place."""

import dagster as dg
from dagster import DagsterRunStatus

from plumbline.leftovers import end_left_over_runs


def test_unfinished_runs_of_a_killed_session_are_marked_failed_and_finished_ones_are_not(tmp_path):
    @dg.job
    def work():
        pass

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        runs = {
            status: instance.create_run_for_job(work, status=status)
            for status in (DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.SUCCESS)
        }
        assert end_left_over_runs(instance) == 2
    with dg.DagsterInstance.local_temp(str(tmp_path)) as again:
        after = {status: again.get_run_by_id(run.run_id).status for status, run in runs.items()}
    assert after[DagsterRunStatus.STARTED] is after[DagsterRunStatus.STARTING] is DagsterRunStatus.FAILURE
    assert after[DagsterRunStatus.NOT_STARTED] is DagsterRunStatus.NOT_STARTED
    assert after[DagsterRunStatus.SUCCESS] is DagsterRunStatus.SUCCESS
