"""How the stand-in Zimbra speaks: SOAP in JSON and in XML, in and out, and faults.

Both encodings are one inside: objects of scalars, of objects (unique children) and of lists (repeatable ones).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import orjson

SOAP = "http://www.w3.org/2003/05/soap-envelope"
_OLD_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_TEXTS = frozenset({"lifetime"})
"""Scalars that XML spells as elements."""

Element = dict[str, Any]


class SoapFault(Exception):
    """A fault: its code, the text with it, and the id that it names."""

    def __init__(self, code: str, text: str = "", item: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text or code
        self.item = item

    def element(self) -> Element:
        """As it stands in the body."""
        error: Element = {"Code": self.code, "Trace": "qtp1-1:1:0", "_jsns": "urn:zimbra"}
        if self.item:
            error["a"] = [{"n": "itemId", "t": "IID", "_content": self.item}]
        sender = "Receiver" if self.code in ("service.FAILURE", "service.PROXY_ERROR") else "Sender"
        return {"Code": {"Value": f"soap:{sender}"}, "Reason": {"Text": self.text}, "Detail": {"Error": error}}


class Unparsable(Exception):
    """What came is no envelope; `xml`: that is how the complaint is spelled."""

    def __init__(self, why: str, *, xml: bool) -> None:
        super().__init__(why)
        self.xml = xml


@dataclass(slots=True)
class Request:
    """One request: its name without the suffix, namespace, members, and the context that came with it."""

    name: str
    space: str
    body: Element
    context: Element = field(default_factory=dict)
    xml: bool = False


def read(body: bytes) -> Request:
    """The request in a body; what begins with `<` is XML."""
    xml = body.lstrip()[:1] == b"<"
    envelope = _read_xml(body) if xml else _read_json(body)
    header, inside = envelope.get("Header") or {}, envelope.get("Body")
    if not isinstance(inside, dict) or not isinstance(header, dict):
        raise Unparsable("the envelope has no Body", xml=xml)
    context = header.get("context") or {}
    if context and context.get("_jsns") != "urn:zimbra":
        raise Unparsable("the context is not of urn:zimbra", xml=True)
    names = [name for name in inside if name != "_jsns"]
    if len(names) != 1 or not isinstance(inside[names[0]], dict | list):
        raise Unparsable("the Body holds one request", xml=xml)
    return request(names[0], first(inside, names[0]), context, xml=_wants_xml(context, xml))


def request(name: str, body: Element, context: Element, *, xml: bool = False) -> Request:
    """A request of this element."""
    return Request(name.removesuffix("Request"), str(body.get("_jsns", "")), body, context, xml)


def _wants_xml(context: Element, xml: bool) -> bool:
    return {"js": False, "xml": True}.get(str(first(context, "format").get("type", "")), xml)


def _read_json(body: bytes) -> Element:
    try:
        envelope = orjson.loads(body)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        raise Unparsable("no JSON", xml=False)
    return envelope


def _read_xml(body: bytes) -> Element:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise Unparsable("no XML", xml=True) from None
    if root.tag not in (f"{{{SOAP}}}Envelope", f"{{{_OLD_SOAP}}}Envelope"):
        raise Unparsable("no SOAP", xml=True)
    return {re.sub(r"\{.*\}", "", child.tag): _children(child, unique=True) for child in root}


def _children(element: ElementTree.Element, *, unique: bool = False) -> Element:
    found: Element = dict(element.attrib)
    if (text := (element.text or "").strip()) and not len(element):
        found["_content"] = element.text or text
    for child in element:
        space, _, name = child.tag.rpartition("}")
        inner = _children(child)
        if unique or name.endswith("Request"):
            inner["_jsns"] = space.lstrip("{")
        if unique:
            found[name] = inner
        else:
            found.setdefault(name, []).append(inner)
    return found


def first(body: Mapping[str, Any], name: str) -> Element:
    """The child of this name, or the first of several; texts and texts in texts are as good as elements."""
    value = body.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return {}
    return dict(value) if isinstance(value, dict) else {"_content": value}


def every(body: Mapping[str, Any], name: str) -> list[Element]:
    """All children of this name."""
    value = body.get(name, [])
    return [first({"x": each}, "x") for each in (value if isinstance(value, list) else [value])]


def text(body: Mapping[str, Any], name: str) -> str:
    """The text of a child, or an attribute."""
    value: Any = body.get(name)
    while isinstance(value, dict | list):
        value = value.get("_content", "") if isinstance(value, dict) else (value[0] if value else "")
    return "" if value is None else str(value)


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A truth value in any spelling."""
    return text(body, name).lower() in ("1", "true")


def number(body: Mapping[str, Any], name: str, default: int) -> int:
    """A number; a fault where it is none."""
    value = text(body, name)
    if not value:
        return default
    if not re.fullmatch(r"-?\d+", value):
        raise SoapFault("service.INVALID_REQUEST", f"invalid value for {name}")
    return int(value)


def write(name: str, body: Element, context: Element, *, xml: bool) -> tuple[bytes, str]:
    """An answer and its content type; JSON goes as JavaScript."""
    if not xml:
        envelope = {
            "Header": {"context": {**context, "_jsns": "urn:zimbra"}},
            "Body": {name: body},
            "_jsns": "urn:zimbraSoap",
        }
        return orjson.dumps(envelope), "text/javascript"
    header = _xml("context", {**context, "_jsns": "urn:zimbra"})
    inside = _xml(f"soap:{name}" if name == "Fault" else name, body)
    told = (
        f'<soap:Envelope xmlns:soap="{SOAP}"><soap:Header>{header}</soap:Header>'
        f"<soap:Body>{inside}</soap:Body></soap:Envelope>"
    )
    return told.encode(), "text/xml"


def _xml(name: str, value: Any) -> str:
    """One element; within a fault those of SOAP carry its prefix."""
    if not isinstance(value, dict):
        return f"<{name}>{escape(str(value))}</{name}>"
    fault = name.startswith("soap:") and name != "soap:Detail"
    attributes, inside = "", ""
    for key, each in value.items():
        if key == "_jsns":
            attributes += f" xmlns={quoteattr(str(each))}"
        elif key == "_content":
            inside += escape(_spelled(each))
        elif key == "_attrs":
            inside += "".join(_pairs(each))
        elif isinstance(each, dict):
            inside += _xml(f"soap:{key}" if fault else key, each)
        elif isinstance(each, list):
            inside += "".join(_xml(key, one) for one in each)
        elif fault or key in _TEXTS or name == "Error":
            inside += _xml(f"soap:{key}" if fault else key, each)
        else:
            attributes += f" {key}={quoteattr(_spelled(each))}"
    return f"<{name}{attributes}>{inside}</{name}>"


def _pairs(attributes: Mapping[str, Any]) -> list[str]:
    """`<a n="K">V</a>`, once for every value."""
    told = []
    for name, value in attributes.items():
        for each in value if isinstance(value, list) else [value]:
            members = each if isinstance(each, dict) else {"_content": each}
            told.append(_xml("a", {"n": name, **members}))
    return told


def _spelled(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
