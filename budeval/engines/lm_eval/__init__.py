"""lm-eval, the harness of EleutherAI: the scripts that its pods run."""
