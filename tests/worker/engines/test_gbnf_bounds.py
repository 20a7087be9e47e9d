"""Grammars that llama.cpp would read for minutes, or never to the end, are refused; those that people use are not."""

import contextlib

import pytest

from weft_worker.engines.gbnf_bounds import check_grammar

JSON = r"""
root   ::= value  # as llama.cpp's own example has it
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


def rule(text: str) -> str:
    return f"root ::= {text}"


@pytest.mark.parametrize(
    "grammar",
    [
        "",
        "no grammar at all {3,2",
        JSON,
        rule("[a-z]{1,2000}"),
        rule('("a" | "b"){0,1000}'),
        rule('x{200}\nx ::= "a" "b"?'),
        rule('"a"? ' * 100),
        rule('("a"? "b"?){20}'),
        rule('"{3,2}" [{3,2})(] # {3,2}\n'),
        rule('"\\"{3,2}" '),
        rule("(" * 99 + '"a"' + ")" * 99),
        rule('"{" ' + " ".join(f'"p{index}" ws value ws "," ws' for index in range(300)) + ' "}"') + JSON,
        rule(" ".join(f'(ws "p{index}")?' for index in range(90))) + JSON,
        rule('"a" | root "b"'),
        rule(" | ".join(f'"{index}"' for index in range(10_000))),
        'start: "a"~3 | /[a-z]{3}/  // of another kind',
    ],
)
def test_what_people_write_passes(grammar: str) -> None:
    check_grammar(grammar)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (rule('("a"? "b"?){200}'), "100 parts in a row"),
        (rule('("a"? "b"?){50}'), "100 parts in a row"),
        (rule('("a"?){1000}'), "100 parts in a row"),
        (rule('(("a"? "b"?){20}){20}'), "100 parts in a row"),
        (rule('x{200}\nx ::= "a"?'), "100 parts in a row"),
        (rule('x{20}\nx ::= y{20}\ny ::= "a"?'), "100 parts in a row"),
        (rule('x ("b" | x{101}) \nx ::= "" | "a" root'), "100 parts in a row"),
        (rule('("x" | ){150}'), "100 parts in a row"),
        (rule('"a"? ' * 101), "100 parts in a row"),
        (rule('("" | "a"){101}'), "100 parts in a row"),
        (rule('"a"{3,2}'), r"\{3,2\} asks for more"),
        (rule('("x" [a-z]{5,4} "y")?'), r"\{5,4\} asks for more"),
        (rule('"a"{100}{100}{100}'), "repeats too often"),
        (rule('("a"?){20}{20}'), "100 parts in a row"),
        (rule('"a"{2}{3,1}'), r"\{3,1\} asks for more"),
        (rule("[a-z]{20001}"), "repeats too often"),
        (rule('(("a"{100}){100}){100}'), "repeats too often"),
        (rule("(" * 101 + '"a"' + ")" * 101), "100 deep"),
        (rule("(" * 200_000 + '"a"' + ")" * 200_000), "262,144 characters"),
        ("\n".join(f"r{index} ::= r{index + 1}" for index in range(10_001)), "10,000 rules"),
        (rule("(" * 60 + '"a"?' + "){2}" * 60), "100 parts in a row|too often"),
        (rule('"' + "a" * 20_000 + '"{1999}'), "repeats too often"),
        (rule("[" + "a" * 20_000 + "]{6}"), "repeats too often"),
        (rule("[a-z]{1000000000,}"), "repeats too often"),
        (rule("x{2000,} " * 51 + '\nx ::= "a"'), "repeats too often"),
        (
            rule("a0\n" + "".join(f"a{i} ::= a{i + 1} | a{i + 1}\n" for i in range(40)) + 'a40 ::= "x"'),
            "begin in",
        ),
        (
            rule("a0\n" + "".join(f"a{i} ::= a{i + 1}? a{i + 1}\n" for i in range(40)) + 'a40 ::= "x"'),
            "begin in",
        ),
    ],
)
def test_what_would_be_read_for_ever_is_refused(grammar: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_grammar(grammar)


# Each takes well below a second; what reads them more than once takes hours.
@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [10, 1000])
@pytest.mark.parametrize("rest", ['| "a"', '? "a"', '{2} "a" | "b"'])
def test_rules_that_hold_each_other_are_read_to_the_end(count: int, rest: str) -> None:
    with contextlib.suppress(
        ValueError
    ):  # many that begin with each other: the library would refuse them too
        check_grammar("\n".join(f"r{index} ::= r{(index + 1) % count} {rest}" for index in range(count)))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text", ["[", '"', "<", "{1, ", "(", "((a?)?)? ", "a ::= b? ", "#", "\\", "a" * 99 + "\n"], ids=repr
)
def test_long_grammars_are_read_once(text: str) -> None:
    with contextlib.suppress(ValueError):
        check_grammar((rule('"a" ') + text * 260_000)[:262_144])
