"""What runs in the clusters' pods: one package for each evaluation engine."""
