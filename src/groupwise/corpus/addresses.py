"""This module says when two web addresses are one, which domain an address belongs to, and which prefixes it has."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

PORTS = {"http": 80, "https": 443}
TRACKING = re.compile(
    r"utm_\w+|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|twclid|ttclid|igshid|mc_[ce]id|mkt_tok|_ga|_gl"
    r"|_hs(?:enc|mi)|ref_src|ref_url|spm|vero_\w+|oly_\w+_id|wt_?mc\w*|pk_\w+|mtm_\w+|phpsessid|jsessionid|sessionid"
    r"|s?cid|trk|at_\w+",
    re.IGNORECASE,
)
"""Parts of a query that say where a visitor came from, and nothing of the page."""
INDEX = re.compile(r"/(?:index|default)\.(?:html?|xhtml|php|aspx?|jsp)$", re.IGNORECASE)
SESSION = re.compile(r";jsessionid=[^/?#]*", re.IGNORECASE)
UNRESERVED = "-._~!$'()*+,;=:@/"
LONGEST = 2_000


def normal_form(address: str) -> str:
    """The address without what makes no difference: scheme, case and default port of the host, fragment, tracking
    parameters, order of the query, a trailing slash, ``index.html``.

    Raises ValueError, which says why, for what is no address of a web page.
    """
    if len(address) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} letters")
    found = urlsplit(address.strip())
    if found.scheme.lower() not in PORTS:
        raise ValueError(f"scheme {found.scheme[:20] or 'missing'}")
    host = _host(found.hostname or "")
    port = found.port
    if port is not None and port not in (PORTS[found.scheme.lower()], *PORTS.values()):
        host = f"{host}:{port}"
    path = quote(unquote(SESSION.sub("", found.path), errors="replace"), safe=UNRESERVED)
    path = INDEX.sub("/", re.sub(r"/{2,}", "/", path)).rstrip("/")
    kept = sorted(
        (name, value)
        for name, value in parse_qsl(found.query, keep_blank_values=True, max_num_fields=200)
        if not TRACKING.fullmatch(name)
    )
    return f"{host}{path}" + (f"?{urlencode(kept)}" if kept else "")


def _host(name: str) -> str:
    host = name.rstrip(".").lower()
    if not host or len(host) > 253 or any(letter.isspace() for letter in host):
        raise ValueError("no host")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")  # raises UnicodeError, which is a ValueError
    return host


@lru_cache(maxsize=1 << 16)
def domain_of(host: str) -> str:
    """The registered domain of a host, by the list of public suffixes that tldextract carries; the host where it has
    none."""
    bare = host.partition(":")[0] if not host.startswith("[") else host
    return str(_suffixes()(bare).top_domain_under_public_suffix or bare)


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def host_of(normal: str) -> str:
    """Returns the host of a normal form."""
    return normal.partition("/")[0].partition("?")[0]


def prefixes(normal: str, deepest: int = 3) -> list[str]:
    """The prefixes of a normal form by which a person can judge it, the shortest first: its host, and its folders.

    ``openstax.org``, ``openstax.org/books``, ``openstax.org/books/prealgebra-2e``; the page itself is none.
    """
    host, *folders = normal.partition("?")[0].split("/")
    return ["/".join((host, *folders[:depth])) for depth in range(min(deepest, max(len(folders) - 1, 0)) + 1)]


def below(normal: str, prefix: str) -> bool:
    """Says whether an address lies below a prefix: ``a.org/books`` holds ``a.org/books/1`` and not
    ``a.org/bookshop``."""
    return normal.startswith(prefix) and (len(normal) == len(prefix) or normal[len(prefix)] in "/?" or prefix == "")


def as_prefix(text: str) -> str:
    """A prefix as a person writes it, in normal form: ``https://OpenStax.org/books/prealgebra-2e/``."""
    written = text.strip()
    return normal_form(written if "://" in written else f"https://{written}")
