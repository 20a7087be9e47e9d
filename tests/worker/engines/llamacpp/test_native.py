"""What llama.cpp's log says about a failed load."""

import os
import tempfile
import threading

from weft_worker.engines.llamacpp.native import failure_cause, last_words

TRUNCATED = """\
0.00.141 E llama_model_load: error loading model: tensor 'x' data is not within the file bounds
0.00.142 E llama_model_load_from_file_impl: failed to load model
0.00.143 E srv    load_model: failed to load model, 'trunc.gguf'
0.00.144 E srv          init: exiting due to model loading error
"""
UNREADABLE = """\
0.00.148 I some: information
0.00.148 E gguf_init_from_reader: failed to read key-value pairs
0.00.148 E llama_model_load: error loading model: llama_model_loader: failed to load model from head.gguf
"""


def test_the_loaders_own_reason_comes_first() -> None:
    assert failure_cause(TRUNCATED) == "tensor 'x' data is not within the file bounds"


def test_where_the_loader_only_repeats_the_path_the_deepest_line_tells() -> None:
    assert failure_cause(UNREADABLE) == "gguf_init_from_reader: failed to read key-value pairs"


def test_a_log_without_errors_has_no_cause() -> None:
    assert failure_cause("0.00.148 I some: information\n") is None


def test_what_is_read_while_it_is_written_stays_whole() -> None:
    lines = [f"0.00.{number:04} E line\n" for number in range(5000)]

    def write(descriptor: int) -> None:
        for line in lines:
            os.write(descriptor, line.encode())
        os.write(descriptor, b"exiting due to model loading error\n")
        os.close(descriptor)

    with tempfile.TemporaryFile() as log:
        writer = threading.Thread(target=write, args=(os.dup(log.fileno()),))
        writer.start()
        while writer.is_alive():
            last_words(log)
        assert last_words(log) == "".join([*lines, "exiting due to model loading error\n"])
