"""Addresses that other servers name."""

from __future__ import annotations

import pytest
import yarl

from bridge import errors, urls


@pytest.mark.parametrize("text", ["http://[::1", "//[", "http://[@::1]", "ftp://a/", "http://"])
def test_what_is_no_address_is_said_so_beside_another_one_too(text: str) -> None:
    for base in (None, yarl.URL("https://crm.example.com/a")):
        with pytest.raises(errors.Unavailable):
            urls.read(text, base)
