"""Addresses that are one page have one form; those that are not have two."""

from __future__ import annotations

import pytest

from groupwise.corpus.addresses import as_prefix, below, domain_of, normal_form, prefixes


@pytest.mark.parametrize(
    "same",
    [
        "https://a.org/x", "http://a.org/x", "https://A.ORG/x", "https://a.org:443/x", "http://a.org:80/x",
        "https://a.org/x/", "https://a.org/x#part", "https://a.org/x?utm_source=t&utm_term=1", "https://a.org/x?fbclid=1",
        "https://a.org/x/index.html", "https://a.org//x", "https://a.org./x", "https://a.org/x;jsessionid=12AB",
        "https://a.org/%78", "HTTPS://a.org/x?", "  https://a.org/x ", "https://a.org/x#:~:text=the", "http://a.org:443/x",
        "https://user:word@a.org/x",
    ],
)  # fmt: skip
def test_what_makes_no_difference_goes(same: str) -> None:
    assert normal_form(same) == "a.org/x"


@pytest.mark.parametrize(
    "other",
    ["https://a.org/X", "https://a.org/x?page=2", "https://a.org/x?id=1", "https://b.a.org/x", "https://a.org:8080/x",
     "https://a.org/x/indexes.html", "https://a.org/x.html", "https://a.org/x%2Fy", "https://a.org/x?lang=en"],
)  # fmt: skip
def test_what_makes_a_difference_stays(other: str) -> None:
    assert normal_form(other) != "a.org/x"


def test_the_order_of_a_query_makes_none_and_its_values_do() -> None:
    assert normal_form("http://a.org/v?b=2&a=1") == normal_form("http://a.org/v?a=1&b=2") == "a.org/v?a=1&b=2"
    assert normal_form("http://a.org/v?page=1") != normal_form("http://a.org/v?page=10")
    assert normal_form("http://a.org/v?a=") == "a.org/v?a="


@pytest.mark.parametrize(
    "bad",
    ["", "javascript:alert(1)", "http://[::1/broken", "https://", "ftp://a.org/x", "a.org/x", "http://a b.org/",
     "http://a.org:99999/", "https://a.org/" + "a" * 3000, "data:text/html,x", "http://" + "a" * 300 + ".org"],
)  # fmt: skip
def test_what_is_no_address_of_a_page_says_why(bad: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        normal_form(bad)


def test_other_alphabets_have_one_form() -> None:
    assert normal_form("https://exämple.org/ü?q=é") == normal_form("https://xn--exmple-cua.org/%C3%BC?q=%C3%A9")


def test_domains_are_registered_ones_without_the_network() -> None:
    assert domain_of("docs.python.org") == "python.org"
    assert domain_of("a.b.example.co.uk") == "example.co.uk"
    assert domain_of("127.0.0.1:8000") == "127.0.0.1"
    assert domain_of("localhost") == "localhost"


def test_prefixes_are_the_host_and_its_folders() -> None:
    assert prefixes("a.org/books/x/pages/1") == ["a.org", "a.org/books", "a.org/books/x", "a.org/books/x/pages"]
    assert prefixes("a.org/1") == ["a.org"]
    assert prefixes("a.org") == ["a.org"]
    assert as_prefix("https://A.org/books/x/") == as_prefix("a.org/books/x") == "a.org/books/x"


def test_below_is_by_folders() -> None:
    assert below("a.org/books/1", "a.org/books")
    assert below("a.org/books?x=1", "a.org/books")
    assert below("a.org", "a.org")
    assert not below("a.org/bookshop", "a.org/books")
    assert not below("a.organic/1", "a.org")
