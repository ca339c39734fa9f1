"""The XML of APIv2: <xml> with text elements, and nothing else that XML can be.

No DTD, no entity of one's own, no element twice, nothing nested: what APIv2 never sends is
refused before anybody looks at it.
"""

from collections.abc import Mapping
from xml.parsers import expat

from .errors import MalformedAnswer

MOST_BYTES = 256 * 1024


def build(fields: Mapping[str, str]) -> bytes:
    """Write fields as APIv2 takes them."""
    inside = "".join(f"<{name}>{_cdata(value)}</{name}>" for name, value in fields.items())
    return f"<xml>{inside}</xml>".encode()


def parse(body: bytes, root: str = "xml") -> dict[str, str]:
    """Read fields; raise MalformedAnswer for everything that is not plain."""
    if len(body) > MOST_BYTES:
        raise MalformedAnswer("body", "too long")
    reader = _Reader(root)
    try:
        reader.parser.Parse(body, True)
    except expat.ExpatError as error:
        raise MalformedAnswer("body", f"not XML: {error}") from None
    return reader.fields


class _Reader:
    def __init__(self, root: str) -> None:
        self.fields: dict[str, str] = {}
        self._root = root
        self._path: list[str] = []
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        for name in ("StartDoctypeDecl", "EntityDecl", "ProcessingInstruction", "SkippedEntity"):
            setattr(parser, f"{name}Handler", self._refuse)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) == 1 and name != self._root:
            raise MalformedAnswer(name, f"the root element is {self._root}")
        if len(self._path) > 2 or attributes:
            raise MalformedAnswer(name, "nested, or with attributes")
        if len(self._path) == 2:
            if name in self.fields:
                raise MalformedAnswer(name, "twice")
            self.fields[name] = ""

    def _end(self, _: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if len(self._path) == 2:
            self.fields[self._path[1]] += text
        elif text.strip():
            raise MalformedAnswer("body", "text between the elements")

    def _refuse(self, *_: object) -> None:
        raise MalformedAnswer("body", "a DTD, an entity or an instruction")


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"
