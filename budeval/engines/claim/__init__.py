"""Programs that Jobs run at the shared claim: standard library only, Python 3.9 and later."""
