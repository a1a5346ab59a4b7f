"""The local model's server, a program: `python llama_server.py MODEL.gguf PORT` (0: any free port).

It writes its base URL to stdout once it is ready. It ends when its stdin ends, which is when its starter
ends, in whatever way and on every system. It imports nothing from this package.
"""

import os
import sys

_SLOTS = 2
_SLOT_TOKENS = 4096
_PROMPT_CACHE_MIB = 256  # llama.cpp would take up to 8 GiB
# Its threads wait for each other by spinning. One thread too many, on a core that something else uses, costs
# far more than it gains: 3 tokens/s instead of 45 on two busy cores.
_THREADS = max(1, min(4, (os.cpu_count() or 2) - 1))
_REPEAT_PENALTY = 1.1  # without it, such a small model soon repeats itself


def main(gguf: str, port: int) -> None:
    """Serve the model until stdin ends."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints belongs in the log
    try:
        import xllamacpp  # noqa: PLC0415 - stdout must be redirected first
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
        sys.exit(f"the model server doesn't start: {error}")
    os.write(answer, f"{server.listening_address}/v1\n".encode())
    sys.stdin.buffer.read()
    os._exit(0)  # the library's own shutdown would wait for running answers


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
