"""Processes in which something may go wrong, or be attacked, and cost no more than its own answer.

:class:`~groupwise.isolation.sandbox.Sandbox` runs programs that a model wrote, :class:`WorkerPool` our own functions on
what a model wrote, both behind the same walls (:mod:`~groupwise.isolation.walls`), which are tried out first
(:mod:`~groupwise.isolation.trials`). :class:`~groupwise.isolation.guarded_calls.GuardedCalls` runs a user's own
function, against accidents alone. ``docs/isolation.md`` says which guard is for what.
"""
