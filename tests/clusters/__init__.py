"""Engines to run jobs on, each a real one of this machine's own: dask, Slurm, an ssh server."""
