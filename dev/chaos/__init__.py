"""`make chaos`: evaluations that go on while everything around them is killed, at random but seeded moments.

A run has a stack of its own. `plan` draws what is evaluated and what breaks; `workload` submits and follows
the evaluations as callers do; `faults` breaks things and puts them right as a supervisor would; `observing`
looks from outside at what the subscriber got and what was made on the cluster; `verdict` says what was lost,
doubled, reordered, left behind or ended wrongly; `run` is all of it together.
"""
