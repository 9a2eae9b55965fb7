"""Which executor the settings name: imported, made and found to work, or an `Unavailable` that says why not."""

from __future__ import annotations

from collections.abc import Mapping

from queuectl import config
from queuectl.executors import Cluster, Executor
from queuectl.executors.local import LocalExecutor


def make(settings: config.Config, environment: Mapping[str, str]) -> Executor | Cluster:
    """Make the executor of a worker; raises `Unavailable`."""
    if settings.executor == "launcher":
        from queuectl.executors.launcher import LauncherExecutor

        return LauncherExecutor(
            settings.launcher,
            signal=settings.launcher_signal,
            host=settings.launcher_host,
            resources=config.resources(settings.resources),
            environment=environment,
        )
    if settings.executor == "dask":
        from queuectl.executors.dask import DaskExecutor

        return DaskExecutor(settings.dask_scheduler, settings.dask_wait_sec, config.resources(settings.resources))
    return LocalExecutor()
