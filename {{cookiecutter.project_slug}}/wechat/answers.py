"""Turn an answer into its content, or into the error that says how the call ended."""

from typing import Any

from . import fields, meanings
from .errors import (
    AnswerNotProved,
    MalformedAnswer,
    NotExplained,
    OutcomeUnknown,
    SignatureInvalid,
)
from .transport import Answer


def is_success(answer: Answer) -> bool:
    """Tell whether the status is 200 to 299; 202 means "not yet"."""
    return answer.status != 202 and 200 <= answer.status < 300


def raise_for_status(answer: Answer, proved: bool) -> None:
    """Raise for everything but a success; 3xx and 5xx are unknown, and so is a proxy's 4xx."""
    if is_success(answer):
        return
    carried = _carried(answer, proved)
    code = carried["code"]
    message = carried["message"]
    words = f"{code} {message}".strip() or "an answer without explanation"
    if answer.status != 202 and not 400 <= answer.status < 500:
        raise OutcomeUnknown(words, status=answer.status, **carried)
    explained = proved or answer.status in (202, 429) or meanings.is_code(code)
    if not explained:
        raise NotExplained(f"not a code of WeChat's: {words}", status=answer.status, **carried)
    raise meanings.kind_of(answer.status, code, message)(answer.status, **carried)


def content(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a proved success, {} for a 204; raise OutcomeUnknown for others."""
    if answer.status == 204:
        return {}
    data = _parsed(answer)
    if not data:  # {} is what a 204 looks like to the caller
        raise unknown(answer, "the answer is not a JSON object with content", proved=True)
    return data


def unknown(answer: Answer, reason: str, proved: bool) -> OutcomeUnknown:
    """Build the error of an answer that nobody expected."""
    return OutcomeUnknown(reason, status=answer.status, **_carried(answer, proved))


def not_proved(answer: Answer, error: SignatureInvalid) -> AnswerNotProved:
    """Build the error of an answer whose signature is missing or does not hold."""
    reason = f"the answer is not proved, {error.reason}: {error}"
    carried = _carried(answer, proved=False)
    return AnswerNotProved(reason, signature_reason=error.reason, status=answer.status, **carried)


def _carried(answer: Answer, proved: bool) -> dict[str, Any]:
    """Return what every error keeps of an answer, as it came."""
    data = _parsed(answer)
    return {
        "code": _text(data.get("code")),
        "message": _text(data.get("message")),
        "detail": data.get("detail"),
        "request_id": answer.request_id,
        "proved": proved,
    }


def _parsed(answer: Answer) -> dict[str, Any]:
    try:
        return fields.json_object("body", answer.body)
    except MalformedAnswer:
        return {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
