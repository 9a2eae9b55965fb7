from __future__ import annotations

from hypothesis import settings

# A slow machine is no failure, and the same examples each time let a red test be looked at again.
settings.register_profile("queuectl", deadline=None, derandomize=True)
settings.load_profile("queuectl")
