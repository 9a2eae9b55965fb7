"""The same work for other queues: N tasks, each of which runs `/bin/true` as a program.

Each module is both the application that the peer's workers load and, run as a program, the producer. The tasks after
the first tenth write down when they begin and the last when it ends: a peer's start-up is not counted against it.
"""
