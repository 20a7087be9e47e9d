"""Templates are found where transformers finds them, and their refusals are the caller's to hear."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from weft_common.errors import InvalidRequest, LoadFailed
from weft_worker.engines.base import Message, Role, Tool, ToolCall, Tools
from weft_worker.engines.chat_template import ChatTemplate, read_chat_template

_ASK = (Message(Role.USER, "Hi <b>"),)
_TOOLS = Tools((Tool("look", "Looks.", '{"type": "object", "properties": {"at": {"type": "string"}}}'),))


def _rendered(source: str, *messages: Message, tools: Tools | None = None) -> str:
    return ChatTemplate({"default": source}, {"bos_token": "<s>"}).render(messages or _ASK, tools)


def test_a_conversation_is_written_up_to_the_answer() -> None:
    said = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    source = "{{ bos_token }}" + said + "\n{% if add_generation_prompt %}[assistant]{% endif %}"
    assert _rendered(source) == "<s>[user]Hi <b>[assistant]"


def test_blocks_leave_no_lines_and_json_is_as_python_writes_it() -> None:
    source = "{% if tools %}\n  {% for t in tools %}\n{{ t | tojson }}\n  {% endfor %}\n{% endif %}"
    (line,) = _rendered(source, tools=_TOOLS).splitlines()
    assert json.loads(line)["function"]["name"] == "look"
    assert '"type": "function", "function": {"name": "look", "description": "Looks."' in line
    assert _rendered("{{ '<é>' | tojson }}") == '"<é>"'


def test_arguments_of_calls_are_objects_to_the_template() -> None:
    call = Message(Role.ASSISTANT, "", tool_calls=(ToolCall("1", "look", '{"at": "é"}'),))
    assert _rendered("{{ messages[0].tool_calls[0].function.arguments | tojson }}", call) == '{"at": "é"}'
    assert _rendered("{{ messages[0].tool_calls[0].function.arguments.at }}", call) == "é"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('Roles must alternate') }}",
        "{{ nobody.knows }}",
        "{{ messages[0].content + 3 }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_what_a_template_refuses_is_the_callers_request(source: str) -> None:
    with pytest.raises(InvalidRequest, match=r"chat template does not take this conversation: \S") as refused:
        _rendered(source)
    assert refused.value.violations[0].field == "messages"


def test_a_refusal_has_the_words_of_the_template() -> None:
    with pytest.raises(InvalidRequest, match="Roles must alternate"):
        _rendered("{{ raise_exception('Roles must alternate') }}")


def test_a_template_that_cannot_be_read_fails_the_load() -> None:
    with pytest.raises(LoadFailed, match="cannot be read"):
        ChatTemplate({"default": "{% for %}"}, {})


def test_templates_may_ask_for_the_date_and_mark_what_the_model_says() -> None:
    now = datetime(2026, 1, 2)
    marks = "{% generation %}!{% endgeneration %}{% for i in [1, 2] %}{% break %}{% endfor %}"
    source = "{{ strftime_now('%d %b %Y') }}" + marks
    assert ChatTemplate({"default": source}, {}, lambda: now).render(_ASK) == "02 Jan 2026!"


def test_the_file_goes_before_the_config_and_tools_have_their_own(tmp_path: Path) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "unk_token": None,
        "chat_template": [
            {"name": "default", "template": "{{ bos_token }}{{ unk_token is defined }}"},
            {"name": "tool_use", "template": "tools"},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = read_chat_template(tmp_path)
    assert (template.render(_ASK), template.render(_ASK, _TOOLS)) == ("<s>False", "tools")
    (tmp_path / "chat_template.jinja").write_text("file")
    template = read_chat_template(tmp_path)
    assert (template.render(_ASK), template.render(_ASK, _TOOLS)) == ("file", "file")


def test_without_a_template_a_conversation_is_refused_with_what_to_do(tmp_path: Path) -> None:
    template = read_chat_template(tmp_path)
    assert (template.chats, template.thinks) == (False, False)
    words = "messages: the model has no chat template: ask /v1/completions, .* option `chat_template`"
    for tools in (None, _TOOLS):
        with pytest.raises(InvalidRequest, match=words) as refused:
            template.render(_ASK, tools)
        assert refused.value.violations[0].field == "messages"


def test_a_template_that_is_named_goes_before_all_and_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("folder")
    (tmp_path / "named.jinja").write_text("named")
    template = read_chat_template(tmp_path, file=tmp_path / "named.jinja")
    assert (template.chats, template.render(_ASK)) == (True, "named")
    with pytest.raises(LoadFailed, match=r"none\.jinja is not there"):
        read_chat_template(tmp_path, file=tmp_path / "none.jinja")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_config_fails_the_load(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(LoadFailed, match="tokenizer_config"):
        read_chat_template(tmp_path)
