"""Check the JSON of a request field by field and refuse in WeChat's words.

The messages follow answers that were published:
输入源“/body/amount/total”映射到数值字段“总金额”规则校验失败，值低于最小值 1
输入源“/body/attach”映射到值字段“附加数据”字符串规则校验失败，字节数 203，大于最大值 128
无法将 JSON 输入源“/body/amount/total”映射到目标字段“总金额”中，此字段需要一个合法的 64 位有符号整数
Unknown fields, null and blank are refused too.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .wire import (
    ILLEGAL_PARAMETER,
    OUT_OF_RANGE,
    RefusalError,
    parameter_error,
    undefined_parameters,
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a field may hold; `label` is WeChat's name of it, `kind` how its messages call it."""

    label: str
    required: bool = False
    kind: ClassVar[str] = "字段“{}”"

    def refuse(
        self, at: str, value: Any, issue: str, number: int = ILLEGAL_PARAMETER
    ) -> RefusalError:
        """Word a refusal of this field."""
        text = f"输入源“{at}”映射到{self.kind.format(self.label)}规则校验失败，{issue}"
        return parameter_error(at, value, issue, text, number=number)

    def another_type(self, at: str, value: Any, wanted: str) -> RefusalError:
        """Word the refusal of a value of another JSON type."""
        issue = f"此字段需要一个{wanted}"
        text = f"无法将 JSON 输入源“{at}”映射到目标字段“{self.label}”中，{issue}"
        return parameter_error(at, value, issue, text)

    def missing(self, at: str) -> RefusalError:
        """Word the refusal of a request that lacks this field."""
        issue = "此字段为必填项"
        text = f"输入源“{at}”映射到字段“{self.label}”必填性规则校验失败，{issue}"
        return parameter_error(at, None, issue, text)

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError unless the value fits."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Text(Rule):
    """A string of `least` to `most` characters, or UTF-8 bytes where WeChat counts those."""

    most: int
    least: int = 1
    in_bytes: bool = False
    pattern: str = ""
    choices: tuple[str, ...] = ()
    kind: ClassVar[str] = "值字段“{}”字符串"

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for another type, length, blank, choices, characters."""
        if not isinstance(value, str):
            raise self.another_type(at, value, " string 类型的 Json 值")
        if re.search("[\ud800-\udfff]", value):
            raise self.refuse(at, None, "不是合法的UTF-8文本")
        self._check_length(at, value)
        if not value.strip():
            raise self.refuse(at, value, "值不能为空")
        if self.choices and value not in self.choices:
            raise self.refuse(at, value, f"值应为 {'、'.join(self.choices)} 之一")
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            raise self.refuse(at, value, f"字符串必须匹配正则表达式“^{self.pattern}$”")

    def _check_length(self, at: str, value: str) -> None:
        length = len(value.encode()) if self.in_bytes else len(value)
        unit = "字节数" if self.in_bytes else "字符数"
        counted = f"{unit} {length}"
        if length < self.least:
            raise self.refuse(at, length, f"{counted}，小于最小值 {self.least}", OUT_OF_RANGE)
        if length > self.most:
            raise self.refuse(at, length, f"{counted}，大于最大值 {self.most}", OUT_OF_RANGE)


@dataclass(frozen=True, kw_only=True)
class Number(Rule):
    """A whole number; neither bool nor float nor a string of digits."""

    least: int = 0
    most: int = 2**63 - 1
    kind: ClassVar[str] = "数值字段“{}”"

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for another type or outside the range."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.another_type(at, value, "合法的 64 位有符号整数")
        if value < self.least:
            raise self.refuse(at, value, f"值低于最小值 {self.least}", OUT_OF_RANGE)
        if value > self.most:
            raise self.refuse(at, value, f"值高于最大值 {self.most}", OUT_OF_RANGE)


@dataclass(frozen=True, kw_only=True)
class Flag(Rule):
    """true or false."""

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for another type."""
        if not isinstance(value, bool):
            raise self.another_type(at, value, " bool 类型的 Json 值")


@dataclass(frozen=True, kw_only=True)
class Opaque(Rule):
    """An object that the sandbox does not look into."""

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for another type."""
        if not isinstance(value, dict):
            raise self.another_type(at, value, " object 类型的 Json 值")


@dataclass(frozen=True, kw_only=True)
class Record(Rule):
    """An object with these fields and no others."""

    fields: Mapping[str, Rule] = field(default_factory=dict)
    most_bytes: int = 0

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for the first unknown, missing or wrong field."""
        if not isinstance(value, dict):
            raise self.another_type(at, value, " object 类型的 Json 值")
        if unknown := [name for name in value if name not in self.fields]:
            raise undefined_parameters([f"{at}/{name}" for name in unknown])
        for name, rule in self.fields.items():
            if value.get(name) is not None:
                rule.check(f"{at}/{name}", value[name])
            elif rule.required:
                raise rule.missing(f"{at}/{name}")
            elif name in value:
                raise rule.refuse(f"{at}/{name}", None, "值不能为null")
        length = len(json.dumps(value, ensure_ascii=False).encode())
        if self.most_bytes and length > self.most_bytes:
            raise self.refuse(at, None, f"长度超过最大值 {self.most_bytes} 字节", OUT_OF_RANGE)


@dataclass(frozen=True, kw_only=True)
class Items(Rule):
    """An array of one to `most` values of one rule."""

    item: Rule
    most: int

    def check(self, at: str, value: Any) -> None:
        """Raise RefusalError for another type, length, or the first wrong item."""
        if not isinstance(value, list):
            raise self.another_type(at, value, " array 类型的 Json 值")
        if not 1 <= len(value) <= self.most:
            raise self.refuse(at, None, f"元素个数应在 1 到 {self.most} 之间", OUT_OF_RANGE)
        for index, item in enumerate(value):
            self.item.check(f"{at}/{index}", item)


def read_body(body: bytes, rule: Record) -> dict[str, Any]:
    """Parse a request body strictly and check it; duplicate keys and NaN are not JSON here."""
    try:
        text = body.decode()
    except ValueError as error:
        message = "请求内容传入了非UTF8参数"
        raise RefusalError(400, "INVALID_REQUEST", message, number=ILLEGAL_PARAMETER) from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise parameter_error("/body", None, "请求体不是合法的JSON") from error
    rule.check("/body", value)
    assert isinstance(value, dict)
    return value


def check_query(query: Mapping[str, str], defined: Collection[str]) -> None:
    """Refuse query parameters that the call's page does not list."""
    if unknown := [name for name in query if name not in defined]:
        raise undefined_parameters([f"/query/{name}" for name in unknown])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
