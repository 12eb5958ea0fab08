"""Who computes metrics. All do so behind one interface, so that the caller may choose."""
