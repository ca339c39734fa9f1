"""What a call, an answer and a refusal are; nothing here knows a web framework."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ILLEGAL_PARAMETER = 268435461
OUT_OF_RANGE = 268435464
BAD_SIGNATURE = 268443699
UNDEFINED_PARAMETER = 270924358
TOO_FREQUENT = 268447840
OTHER_PARAMETERS = 268498688
MISSING_SUB_MCHID = 268443704
UNPUBLISHED = 268435456  # stands for every error whose number WeChat has not published


@dataclass
class Call:
    """A request exactly as it arrived: `target` is path and query in the bytes of the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    path: Mapping[str, str]
    query: Mapping[str, str]
    mchid: str = ""
    signed_message: str = ""


@dataclass
class Answer:
    """What goes back; `status` None means that the connection is cut without an answer.

    `cut` means that it is cut in the middle of the body.
    """

    status: int | None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    verdict: str = "passed"
    signed: bool = True
    cut: bool = False


class RefusalError(Exception):
    """Raised when WeChat would answer an error; `number` ends the Request-ID header."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        number: int = UNPUBLISHED,
        detail: dict[str, Any] | None = None,
        explanation: str = "",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.number = number
        self.detail = detail
        self.explanation = explanation or str(self)

    def answer(self) -> Answer:
        """Turn into WeChat's error body: code, message, detail."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            body["detail"] = self.detail
        return json_answer(self.status, body, number=self.number, verdict=self.explanation)


def parameter_error(
    pointer: str, value: Any, issue: str, message: str = "", *, number: int = ILLEGAL_PARAMETER
) -> RefusalError:
    """Build PARAM_ERROR with WeChat's detail; the pointer's first part says where it stood.

    `value` is shown when it is a text or a number, for instance the length that was too great.
    """
    location = pointer.split("/")[1]
    shown = value if isinstance(value, (str, int, float)) else None
    detail = {"field": pointer, "value": shown, "issue": issue, "location": location}
    text = message or f"输入源“{pointer}”规则校验失败，{issue}"
    return RefusalError(400, "PARAM_ERROR", text, number=number, detail=detail)


def undefined_parameters(pointers: list[str]) -> RefusalError:
    """Build PARAM_ERROR for what the page does not list: location null, value a list."""
    message = "请求中含有未在API文档中定义的参数"
    detail = {"field": pointers[0], "value": pointers, "issue": message, "location": None}
    return RefusalError(400, "PARAM_ERROR", message, number=UNDEFINED_PARAMETER, detail=detail)


def request_id(number: int = 0) -> str:
    """Make a Request-ID, `{id}-{n}`, n = 0 on success."""
    return f"{secrets.token_hex(20).upper()}-{number}"


def compact(body: Any) -> bytes:
    """Serialise the way WeChat does: UTF-8 unescaped, no blanks."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def json_answer(status: int, body: Any, *, number: int = 0, verdict: str = "passed") -> Answer:
    """Build an answer of the v3 API with the headers every answer carries."""
    return Answer(status, compact(body), api_headers(number), verdict)


def api_headers(number: int = 0) -> dict[str, str]:
    """List the headers of doc/v3/merchant/4013053420 that are not about signing."""
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Cache-Control": "no-cache, must-revalidate",
        "X-Content-Type-Options": "nosniff",
        "Content-Language": "zh-CN",
        "Request-ID": request_id(number),
    }
