"""llama.cpp's own server with a template that thinks: `python thinking_server.py MODEL.gguf FORMAT`.

FORMAT says where it has the thinking: `auto` (beside the text) or `none` (in the text, in tags). The model
can't think, but its first words come after `<think>`. Writes its base URL to stdout, and ends when its stdin
ends.
"""

import os
import sys

import xllamacpp

# Both tags in it tell the server that the model thinks.
TEMPLATE = """{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content.split('</think>')[-1] }}<|im_end|>
{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""


def main(gguf: str, reasoning_format: str) -> None:
    """Serve the model until stdin ends."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the library prints
    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.ui = False
    parameters.n_parallel = 1
    parameters.n_ctx = 1024
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1  # its threads wait by spinning
    parameters.chat_template = TEMPLATE
    parameters.use_jinja = True
    if reasoning_format == "none":
        parameters.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    server = xllamacpp.Server(parameters)
    os.write(answer, f"{server.listening_address}/v1\n".encode())
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
