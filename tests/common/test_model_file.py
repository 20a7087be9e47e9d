"""Model files as LocalAI's users know them."""

from pathlib import Path

import pytest

from weft_common.errors import InvalidRequest
from weft_common.model_file import model_files_in, read_model_file
from weft_common.purposes import Purpose


def write(folder: Path, text: str) -> Path:
    path = folder / "m.yaml"
    path.write_text(text)
    return path


def test_defaults_are_filled_in_and_foreign_fields_are_left_alone(tmp_path: Path) -> None:
    file = read_model_file(
        write(tmp_path, "name: llama3\nparameters: {model: x.gguf, top_k: 40}\nf16: true\nmmap: false\n")
    )
    assert (file.backend, file.context_size, file.parallel, file.threads) == ("llama-cpp", 4096, 1, 0)


def test_options_may_be_a_list_as_in_localai_or_a_mapping(tmp_path: Path) -> None:
    listed = read_model_file(write(tmp_path, "name: a\nparameters: {model: x}\noptions: ['gpu:1', flash]\n"))
    mapped = read_model_file(
        write(tmp_path, "name: a\nparameters: {model: x}\noptions: {gpu: 1, flash: 'true'}\n")
    )
    assert listed.options == mapped.options == {"gpu": "1", "flash": "true"}


def test_options_are_what_yaml_says_as_people_write_it(tmp_path: Path) -> None:
    told = "on: true, 'no': false, split: [20, 23.5], flags: [true, x], empty: , word: 'True', half: 0.5"
    options = {
        "on": "true",
        "no": "false",
        "split": "20,23.5",
        "flags": "true,x",
        "empty": "",
        "word": "True",
    }
    head = "name: a\nparameters: {model: x}\noptions:"
    assert read_model_file(write(tmp_path, f"{head} {{{told}}}\n".replace("on:", "'on':"))).options == {
        **options,
        "half": "0.5",
    }
    listed = read_model_file(write(tmp_path, f"{head}\n  - paged: true\n  - split: [20, 24]\n  - gpu:1\n"))
    assert listed.options == {"paged": "true", "split": "20,24", "gpu": "1"}


def test_the_revision_changes_with_what_a_backend_reads_and_with_nothing_else(tmp_path: Path) -> None:
    base = read_model_file(write(tmp_path, "name: a\nparameters: {model: x}\n")).revision()
    same = read_model_file(write(tmp_path, "f16: true\nname: a\nparameters: {model: x}\n")).revision()
    other = read_model_file(write(tmp_path, "name: a\nparameters: {model: y}\n")).revision()
    assert base == same != other


def test_what_a_model_is_for_is_written_as_in_localai(tmp_path: Path) -> None:
    def purpose(line: str) -> Purpose:
        return read_model_file(write(tmp_path, f"name: a\nparameters: {{model: x}}\n{line}\n")).purpose

    assert purpose("f16: true") is purpose("embeddings: false") is Purpose.CHAT
    assert purpose("embeddings: true") is Purpose.EMBEDDING
    assert purpose("reranking: true") is purpose("embeddings: true\nreranking: true") is Purpose.RERANKING


def test_what_no_backend_reads_leaves_the_revision(tmp_path: Path) -> None:
    base = read_model_file(write(tmp_path, "name: a\nparameters: {model: x}\n"))
    text = "name: a\nparameters: {model: x}\npinned: true\nconcurrency_groups: [heavy]\ndisabled: true\n"
    marked = read_model_file(write(tmp_path, text))
    assert (marked.pinned, marked.concurrency_groups, marked.disabled) == (True, ("heavy",), True)
    assert marked.revision() == base.revision()


def test_weights_are_looked_for_beside_the_file_unless_absolute(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    file = read_model_file(write(tmp_path, "name: a\nparameters: {model: x.gguf}\n"))
    assert file.weights(tmp_path) == tmp_path / "x.gguf"
    away = read_model_file(write(tmp_path, "name: a\nparameters: {model: /elsewhere/x.gguf}\n"))
    assert away.weights(tmp_path) == Path("/elsewhere/x.gguf")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: a\n", "parameters"),
        ("name: ' '\nparameters: {model: x}\n", "name"),
        ("name: a\nparameters: {model: x}\nparallel: 0\n", "parallel"),
        ("name: a\nparameters: {model: x}\ncontext_size: many\n", "context_size"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"m.yaml: {field}") as caught:
        read_model_file(write(tmp_path, text))
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize("text", ["{", "", "- a"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"m\.yaml"):
        read_model_file(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    ["day: 2024-13-45", "count: !!int x", "x: !!int ''", "x: !!bool zz", "x: !!timestamp z", "[" * 5000],
)
def test_a_file_that_yaml_cannot_make_values_of_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"m\.yaml cannot be read"):
        read_model_file(write(tmp_path, text))


def test_model_files_are_those_of_both_endings_and_none_that_an_editor_keeps(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", ".#a.yaml", "c.txt", "d.ytml"):
        (tmp_path / name).touch()
    assert [path.name for path in model_files_in(tmp_path)] == ["a.yaml", "b.yml"]
    assert model_files_in(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("lines", "parallel"),
    [
        ("options: ['parallel:4', 'gpu:1']", 4),
        ("options: {n_parallel: 3}", 3),
        ("parallel: 2\noptions: ['parallel:4']", 2),
        ("parallel:\noptions: ['parallel:4']", 4),
        ("options: ['gpu:1']", 1),
    ],
)
def test_localais_option_parallel_counts_where_the_field_is_absent(
    tmp_path: Path, lines: str, parallel: int
) -> None:
    assert (
        read_model_file(write(tmp_path, f"name: a\nparameters: {{model: x}}\n{lines}\n")).parallel == parallel
    )


def test_an_option_parallel_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="parallel"):
        read_model_file(write(tmp_path, "name: a\nparameters: {model: x}\noptions: ['parallel:many']\n"))


def test_limits_are_read_and_a_file_without_them_keeps_its_revision(tmp_path: Path) -> None:
    plain = read_model_file(write(tmp_path, "name: a\nparameters: {model: x}\n"))
    assert (plain.revision(), plain.cpus, plain.memory_limit) == ("53c23e16b929", 0.0, 0)
    text = "name: a\nparameters: {model: x}\ncpus: 1.5\nmemory_limit: 4GiB\ndevice_limit: 2\n"
    limited = read_model_file(write(tmp_path, text))
    assert (limited.cpus, limited.memory_limit, limited.device_limit) == (1.5, 4 << 30, 2)
    assert limited.revision() != plain.revision()


@pytest.mark.parametrize(
    "line", ["cpus: -1", "cpus: .nan", "memory_limit: 50%", "memory_limit: 5", "memory_limit: [1]"]
)
def test_a_limit_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidRequest, match=line.partition(":")[0]):
        read_model_file(write(tmp_path, f"name: a\nparameters: {{model: x}}\n{line}\n"))


def test_a_model_of_a_server_elsewhere_has_that_ones_name_for_it(tmp_path: Path) -> None:
    text = (
        "name: a\nbackend: %s\nparameters: {model: x}\noptions: {base_url: 'http://h/v1', key_env: A_KEY}\n"
    )
    files = {name: read_model_file(write(tmp_path, text % name)) for name in ("openai", "vllm", "llama-cpp")}
    assert [file.remote for file in files.values()] == [True, True, False]


@pytest.mark.parametrize(
    "option",
    ["api_key: sk-hidden", "key_env: sk-hidden", "base_url: 'http://u:sk-hidden@h'", "key_file: sk-hidden"],
)
def test_a_key_in_a_model_file_is_refused_and_not_repeated(tmp_path: Path, option: str) -> None:
    text = f"name: a\nbackend: openai\nparameters: {{model: x}}\noptions: {{{option}}}\n"
    with pytest.raises(InvalidRequest) as failure:
        read_model_file(write(tmp_path, text))
    assert "sk-hidden" not in str(failure.value)
