"""Pages: all items once, in order, whatever changes in between."""

import pytest

from weft_common.errors import InvalidRequest
from weft_router.paging import MAX_PAGE_SIZE, page


def pages(items: list[str], size: int) -> list[list[str]]:
    found, token = [], ""
    while True:
        some, token = page(items, size=size, token=token, key=str)
        found.append(some)
        if not token:
            return found


def test_pages_hold_everything_once_and_in_order() -> None:
    assert pages(list("dbaec"), 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(list("dbac"), 2) == [["a", "b"], ["c", "d"]]


def test_an_empty_list_is_one_empty_page() -> None:
    assert pages([], 2) == [[]]


def test_what_comes_and_goes_shifts_no_page() -> None:
    _, token = page("abcd", size=2, token="", key=str)
    assert page("acdx", size=2, token=token, key=str)[0] == ["c", "d"]


def test_sizes_are_coerced() -> None:
    many = [f"{n:04}" for n in range(2000)]
    assert len(page(many, size=0, token="", key=str)[0]) == 100
    assert len(page(many, size=-1, token="", key=str)[0]) == 100
    assert len(page(many, size=5000, token="", key=str)[0]) == MAX_PAGE_SIZE


@pytest.mark.parametrize("token", ["?", "abc", "gA=="])
def test_a_token_that_nobody_gave_out_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page("ab", size=1, token=token, key=str)
    assert [v.field for v in refused.value.violations] == ["page_token"]
