"""Serve one GGUF file by llama.cpp's OpenAI-compatible server until told to stop."""

import argparse
import signal
from pathlib import Path

import xllamacpp

from dev.model import MODEL_NAME

_CONTEXT_TOKENS = 8192
"""Shared by the requests at once: of four each has 2,048."""


def parameters(
    model: Path, host: str, port: int, *, embeddings: bool, parallel: int, threads: int | None
) -> xllamacpp.CommonParams:
    """The server's settings.

    Args:
        model: the GGUF file.
        host: the address to listen at.
        port: the port to listen at.
        embeddings: serve mean-pooled embeddings instead of completions.
        parallel: requests at once, which share the context.
        threads: None for one a core. They wait for each other at every step, so where others use the cores,
            too, one alone is up to eight times as fast.
    """
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(model)
    chosen.model_alias = {MODEL_NAME}
    chosen.hostnames = [host]
    chosen.port = port
    chosen.n_ctx = _CONTEXT_TOKENS
    chosen.n_parallel = parallel
    if threads:
        chosen.cpuparams.n_threads = threads
        chosen.cpuparams_batch.n_threads = threads
    if embeddings:
        chosen.embedding = True
        # Else a text's embedding depends on the other texts of its request.
        chosen.kv_unified = True
        chosen.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return chosen


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--host", required=True, help="the address to listen at")
    parser.add_argument("--port", type=int, required=True, help="the port to listen at")
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings, not completions")
    parser.add_argument("--parallel", type=int, default=4, help="requests at once, which share the context")
    parser.add_argument("--threads", type=int, help="one for each core unless this is given")
    options = parser.parse_args()
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)  # before threads start: they inherit the mask
    server = xllamacpp.Server(
        parameters(
            options.model,
            options.host,
            options.port,
            embeddings=options.embeddings,
            parallel=options.parallel,
            threads=options.threads,
        )
    )
    signal.sigwait(stop_signals)
    del server


if __name__ == "__main__":
    main()
