"""The folder huifu/ alone: what is signed, what is believed, and how a call can end."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from checkout.channels.huifu import ALIPAY_SCANNER
from huifu import payments, sign, statements
from huifu.client import HuifuClient
from huifu.errors import HuifuRefused, HuifuSignatureInvalid, HuifuUnknown, Malformed

VECTORS = {
    vector["id"]: vector
    for vector in json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))["vectors"]
}
ENVELOPE = VECTORS["aggregator.rsa_sha256.envelope"]
CASES = ENVELOPE["cases"]
THEIRS = sign.public_key(ENVELOPE["public_key_spki_base64"])
OURS = rsa.generate_private_key(65537, 2048)
Answers = Callable[[httpx.Request], httpx.Response]


def client(answer: Answers) -> HuifuClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return HuifuClient(http, "6666", "SHOP", "6666", OURS, OURS.public_key())


def answering(**data: Any) -> Answers:
    """Answer every call with this data, signed."""
    text = sign.request_text(data)
    body = f'{{"data":{text},"sign":"{sign.sign(OURS, text)}"}}'
    return lambda request: httpx.Response(200, text=body)


def trade(**changes: Any) -> dict[str, str]:
    fields = {
        "resp_code": "00000000",
        "huifu_id": "6666",
        "org_req_seq_id": "S1",
        "org_req_date": "20260101",
        "org_hf_seq_id": "hf1",
        "trans_stat": "S",
        "trans_amt": "0.10",
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


class TestVectors:
    def test_a_request_is_signed_over_its_sorted_first_level_without_empty_values(self) -> None:
        case = CASES["request"]
        text = sign.request_text(case["input_data"])
        assert text == case["signing_string"]
        sign.check(THEIRS, text, case["sign"])

    def test_an_answer_keeps_empty_strings_and_drops_null(self) -> None:
        case = CASES["response"]
        envelope = {"data": case["input_data"], "sign": case["sign"]}
        text, signature = sign.answer_text(json.dumps(envelope).encode())
        assert text == case["signing_string"]
        sign.check(THEIRS, text, signature)

    def test_a_notification_is_signed_over_the_raw_text(self) -> None:
        case = CASES["notify"]
        form = {"resp_data": case["raw_resp_data"], "sign": case["sign"]}
        notification = payments.read_notification(THEIRS, urlencode(form).encode())
        assert notification.received == case["expected_reply"]
        resorted = sign.request_text(json.loads(case["raw_resp_data"]))
        with pytest.raises(HuifuSignatureInvalid):
            payments.read_notification(THEIRS, urlencode({**form, "resp_data": resorted}).encode())

    def test_the_link_of_alipays_app_is_encoded(self) -> None:
        vector = VECTORS["aggregator.alipay.scheme"]
        from urllib.parse import quote

        url = ALIPAY_SCANNER + quote(vector["input"]["qr_code"], safe="")
        assert url == vector["expected_url"]


class TestSign:
    @pytest.mark.parametrize("literal", ["0.00", "1.10", "1e2", "12345678901234567890", "-0"])
    def test_number_literals_of_an_answer_count_as_they_came(self, literal: str) -> None:
        text = f'{{"deep":{{"z":{literal},"a":[{literal}]}},"fee":{literal}}}'
        body = f'{{"sign":"{sign.sign(OURS, text)}","data":{text}}}'.encode()
        signed, signature = sign.answer_text(body)
        assert signed == text
        sign.check(OURS.public_key(), signed, signature)

    @given(st.dictionaries(st.text(), st.text()))
    def test_what_we_sign_is_what_the_gateway_serialises_again(self, data: dict[str, str]) -> None:
        try:
            text = sign.request_text(data)
            text.encode()
        except UnicodeEncodeError:
            return
        assert sign.request_text(json.loads(text)) == text

    def test_keys_are_read_as_base64_with_or_without_pem(self) -> None:
        bare = ENVELOPE["public_key_spki_base64"]
        pem = f"-----BEGIN PUBLIC KEY-----\\n{bare}\\n-----END PUBLIC KEY-----"
        assert sign.public_key(bare) == sign.public_key(pem) == sign.public_key(f" {bare}\n")

    @pytest.mark.parametrize("text", ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----"])
    def test_what_is_no_key_is_a_value_error(self, text: str) -> None:
        for read in (sign.public_key, sign.private_key):
            with pytest.raises(ValueError):
                read(text)


class TestCalls:
    @pytest.mark.parametrize("value", [1, 0.1, True, None, {"a": "b"}])
    async def test_data_that_is_not_strings_is_never_sent(self, value: Any) -> None:
        with pytest.raises(ValueError, match="strings only"):
            await client(answering()).call("/", {"trans_amt": value})

    async def test_the_body_holds_what_was_signed(self) -> None:
        sent: list[dict[str, Any]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(json.loads(request.content))
            return answering(resp_code="00000000")(request)

        await client(answer).call("/x", {"b": "茶 <&>", "a": "", "C": "1"})
        [envelope] = sent
        assert envelope["data"] == {"C": "1", "b": "茶 <&>"}
        sign.check(OURS.public_key(), '{"C":"1","b":"茶 <&>"}', envelope["sign"])

    @pytest.mark.parametrize("code", ["91111119", "98888888", "99999999", "20000001"])
    async def test_a_system_error_is_an_unknown_outcome(self, code: str) -> None:
        with pytest.raises(HuifuUnknown, match=code):
            await client(answering(resp_code=code)).call("/", {})

    @pytest.mark.parametrize("code", ["10000000", "20000000", "23000003", "", "10000"])
    async def test_another_code_is_a_refusal(self, code: str) -> None:
        with pytest.raises(HuifuRefused) as caught:
            await client(answering(resp_code=code, resp_desc="no")).call("/", {})
        assert caught.value.code == code

    @pytest.mark.parametrize("status", [912, 921, 922])
    async def test_the_gateway_refuses_before_it_does_anything(self, status: int) -> None:
        with pytest.raises(HuifuRefused, match=str(status)):
            await client(lambda request: httpx.Response(status)).call("/", {})

    @pytest.mark.parametrize("status", [301, 404, 412, 500, 502, 512, 911, 914, 923])
    async def test_every_other_status_is_an_unknown_outcome(self, status: int) -> None:
        with pytest.raises(HuifuUnknown, match=str(status)):
            await client(lambda request: httpx.Response(status)).call("/", {})

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b'{"data":1}', b'{"data":{"resp_code":"10000000"}}', b"\xff", b"[" * 9999],
    )
    async def test_an_answer_that_is_not_proved_is_an_unknown_outcome(self, body: bytes) -> None:
        with pytest.raises(HuifuUnknown, match="not proved"):
            await client(lambda request: httpx.Response(200, content=body)).call("/", {})

    async def test_an_answer_that_a_proxy_packed_is_read(self) -> None:
        answer = answering(resp_code="00000100", resp_desc="ok")(httpx.Request("POST", "/")).content
        packed = {"Content-Encoding": "gzip"}

        def reply(_: httpx.Request) -> httpx.Response:
            stream = httpx.ByteStream(gzip.compress(answer))
            return httpx.Response(200, headers=packed, stream=stream)

        assert (await client(reply).call("/", {}))["resp_desc"] == "ok"

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
    async def test_a_few_kib_that_unpack_to_100_mb_are_an_unknown_outcome(
        self, pack: Callable[[bytes], bytes]
    ) -> None:
        encoding = {"Content-Encoding": "gzip"}
        bomb = pack(bytes(100_000_000))

        def reply(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers=encoding, stream=httpx.ByteStream(bomb))

        tracemalloc.start()
        with pytest.raises(HuifuUnknown, match="too big"):
            await client(reply).call("/", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20_000_000

    async def test_no_answer_is_an_unknown_outcome(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            raise httpx.ReadTimeout("late")

        with pytest.raises(HuifuUnknown, match="ReadTimeout"):
            await client(answer).call("/", {})


class TestTrades:
    @pytest.mark.parametrize(
        "names",
        [
            {},
            {"org_req_seq_id": None, "req_seq_id": "S1", "org_hf_seq_id": None, "hf_seq_id": "hf1"},
            {"org_hf_seq_id": None, "nkp_seq_id": "hf1"},
            {"org_hf_seq_id": None, "org_nkp_seq_id": "hf1"},
            {"org_hf_seq_id": "", "hf_seq_id": "hf1"},
        ],
    )
    async def test_both_generations_of_names_are_read(self, names: dict[str, Any]) -> None:
        payment = await payments.query(client(answering(**trade(**names))), "20260101", "S1")
        assert (payment.req_seq_id, payment.hf_seq_id, payment.fen) == ("S1", "hf1", 10)

    async def test_an_answer_about_another_number_is_malformed(self) -> None:
        with pytest.raises(Malformed, match="S2"):
            await payments.query(client(answering(**trade(org_req_seq_id="S2"))), "20260101", "S1")

    @pytest.mark.parametrize("field", ["org_req_seq_id", "trans_stat"])
    async def test_a_missing_field_is_named(self, field: str) -> None:
        with pytest.raises(Malformed, match=field.removeprefix("org_")):
            await payments.query(client(answering(**trade(**{field: None}))), "20260101", "S1")

    async def test_a_refund_is_read_by_its_own_amount_and_number(self) -> None:
        answer = trade(req_seq_id="S1R01", hf_seq_id="hf2", trans_amt=None, ord_amt="0.03")
        refund = await payments.refund(client(answering(**answer)), {"req_seq_id": "S1R01"})
        assert (refund.req_seq_id, refund.hf_seq_id, refund.fen) == ("S1R01", "hf2", 3)

    @pytest.mark.parametrize("text", ["20260102030405", ""])
    async def test_times_are_of_beijing(self, text: str) -> None:
        payment = await payments.query(client(answering(**trade(end_time=text))), "20260101", "S1")
        assert payment.end_time == (datetime(2026, 1, 1, 19, 4, 5, tzinfo=UTC) if text else None)

    @given(st.integers(1, 10**11))
    def test_an_amount_survives_the_way_there_and_back(self, amount: int) -> None:
        assert payments.fen(payments.yuan(amount)) == amount

    @pytest.mark.parametrize(
        "text", ["", "1e2", "-1", "0.001", "１", "1.", ".1", "NaN", "1,00", "1 "]
    )
    def test_what_is_no_amount_is_refused(self, text: str) -> None:
        with pytest.raises(Malformed, match="trans_amt"):
            payments.fen(text)


class TestStatements:
    ROW = ("退款", "S1R01", "hf2", "S1", "hf1", "0.03", "S")

    def pack(self, *rows: tuple[str, ...], header: tuple[str, ...] = ()) -> bytes:
        import io
        import zipfile

        lines = [header or tuple(statements.COLUMNS.values()), *rows]
        text = "".join(",".join(line) + "\r\n" for line in lines)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as files:
            files.writestr("1.csv", "\ufeff" + text)
        return packed.getvalue()

    def test_columns_are_found_by_name_in_any_order(self) -> None:
        header = (*reversed(statements.COLUMNS.values()), "手续费")
        [line] = statements.lines(self.pack((*reversed(self.ROW), "0.00"), header=header))
        assert line == statements.Line("S1R01", "hf2", "S1", "hf1", 3, "S")

    def test_a_missing_column_is_named(self) -> None:
        header = tuple(name for name in statements.COLUMNS.values() if name != "交易金额")
        with pytest.raises(Malformed, match="交易金额"):
            list(statements.lines(self.pack(self.ROW[:-1], header=header)))

    @pytest.mark.parametrize("packed", [b"", b"PK", b"not a zip"])
    def test_what_is_no_zip_is_malformed(self, packed: bytes) -> None:
        with pytest.raises(Malformed, match="zip"):
            list(statements.lines(packed))

    def test_a_zip_that_swells_is_refused_before_it_is_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(statements, "MOST_BYTES", 1)
        with pytest.raises(Malformed, match="too big"):
            list(statements.lines(self.pack(self.ROW)))

    async def test_the_files_of_a_day_are_asked_for_under_the_next(self) -> None:
        asked: list[dict[str, Any]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200, content=self.pack(self.ROW))
            asked.append(json.loads(request.content)["data"])
            files = [{"download_url": "https://f/1"}]
            return answering(resp_code="00000000", file_details=files)(request)

        [packed] = await statements.fetch(client(answer), date(2026, 12, 31), {"req_date": "x"})
        assert len(list(statements.lines(packed))) == 1
        assert asked[0]["file_date"] == "20270101"

    async def test_a_task_that_works_is_not_ready_and_no_task_is_an_empty_day(self) -> None:
        tasks = answering(resp_code="00000000", task_details=[{"task_stat": "P"}])
        with pytest.raises(statements.NotReady):
            await statements.fetch(client(tasks), date(2026, 1, 1), {})
        nothing = answering(resp_code="00000000")
        assert await statements.fetch(client(nothing), date(2026, 1, 1), {}) == []

    @pytest.mark.parametrize("name", ["file_details", "task_details"])
    @pytest.mark.parametrize("value", ["x", {"a": 1}, ["x"], [None]])
    async def test_a_list_that_holds_no_objects_is_malformed(self, name: str, value: Any) -> None:
        strange = answering(resp_code="00000000", **{name: value})
        with pytest.raises(Malformed, match=name):
            await statements.fetch(client(strange), date(2026, 1, 1), {})
