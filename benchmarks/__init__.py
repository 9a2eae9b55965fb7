"""Benchmarks: what a job costs, against programs that do the same work, and bars that the figures have to hold.

`python -m benchmarks` runs all of them and writes `benchmarks/results.md`. They know queuectl only from outside: its
command line and the format of its spool. Every ratio is measured in turns within one run.
"""
