"""Runs of a session that was killed: nothing is left that could finish them, so they must not hold their place."""

import dagster as dg

_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_left_over_runs(instance: dg.DagsterInstance | None = None) -> int:
    """Mark runs that no process works on any more as failed; the daemon tries them again. Call before it starts.

    Args:
        instance: the instance of ``DAGSTER_HOME`` if absent.

    Returns:
        How many there were.
    """
    with instance or dg.DagsterInstance.get() as own:
        runs = own.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED))
        for run in runs:
            own.report_run_failed(run, "the platform was killed while this run was working")
    return len(runs)
