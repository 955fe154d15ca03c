"""The tables `[sink.NAME]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from bridge.keys.secret import Secret
from bridge.keys.table import Mistake, Table
from bridge.keys.values import EndpointUrl, Fingerprint, NamesOrAll, Style, Text, Timeout


class Ccm(Table):
    """A Call Control Manager. `sources` is filled at load: all, in file order, where none are named."""

    type: Literal["ccm"] = "ccm"
    url: EndpointUrl = Field(examples=['"https://pbx.example.com:8000/api.aspx"'])
    security_key: Secret = Field(examples=['{ file = "/etc/bridge/pbx.key" }'])
    sources: NamesOrAll = Field(default=(), examples=['["crm", "office"]'])
    numbers: Style = "digits"
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    rate: Annotated[float, Field(gt=0, le=1_000_000)] = 20.0
    timeout: Timeout = 30.0
    fingerprint: Fingerprint = ""
    max_url: Annotated[int, Field(ge=256, le=65_536)] = 2000
    contacts: bool = True
    extensions: bool = False
    delete_extensions: bool = False
    delete_contact_action: Text = "deletePhonebook"
    delete_contact_key: Text = "dContact"
    delete_extension_action: Text = "deleteExt"
    delete_extension_key: Text = "dExtension"

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if given.get("sources") == []:
            yield "sources", "is empty, right is one name or more, or to leave the key out for all of them"
        if given.get("security_key") == "":
            yield "security_key", 'is empty, right is the Manager\'s key, for example { file = "/etc/bridge/pbx.key" }'
        url = given.get("url")
        if given.get("fingerprint") and isinstance(url, str) and url.lower().startswith("http:"):
            yield "fingerprint", "is for a certificate and the url is http, right is an https url, or no fingerprint"


SINKS: Mapping[str, type[Ccm]] = {"ccm": Ccm}
"""The model of each `type`."""
