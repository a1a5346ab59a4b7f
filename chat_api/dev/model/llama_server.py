"""The local model's server, a program of its own: `python llama_server.py MODEL.gguf PORT` (0: any free
one).

It writes its base URL to stdout when it answers, and ends when its stdin does: that is when its starter
ends, by whatever hand and on every system. It imports nothing of this package.
"""

import os
import sys

_SLOTS = 2
_SLOT_TOKENS = 4096
_PROMPT_CACHE_MIB = 256  # llama.cpp would take up to 8 GiB
# Its threads wait for each other by spinning. One core too many, taken by somebody else, costs far more
# than it brings: 3 tokens/s instead of 45 on two busy cores.
_THREADS = max(1, min(4, (os.cpu_count() or 2) - 1))
_REPEAT_PENALTY = 1.1  # without it a model this small soon repeats itself


def main(gguf: str, port: int) -> None:
    """Serve the model until stdin ends."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints belongs to the log
    try:
        import xllamacpp  # noqa: PLC0415 - stdout has to be turned away first
    except ImportError as error:
        sys.exit(f"the model server xllamacpp can't be loaded: {error}")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.model_alias = {"SmolLM2-135M-Instruct"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.ui = False
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _SLOTS * _SLOT_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = _THREADS
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.sampling.penalty_repeat = _REPEAT_PENALTY
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        sys.exit(f"the model server does not start: {error}")
    os.write(answer, f"{server.listening_address}/v1\n".encode())
    sys.stdin.buffer.read()
    os._exit(0)  # a running answer would keep the library's own shutdown waiting


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
