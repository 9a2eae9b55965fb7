"""The same work for other queues: N tasks, each of which runs `/bin/true` as a program.

Each module is the application that a peer's workers load, and has a `send` that queues a task. A task after the first
tenth and the last task write down when they run: a peer's start-up is not counted against it.
"""
