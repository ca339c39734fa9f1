"""Sandbox material never starts in production, and a real number never starts in the sandbox."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from checkout import channels
from checkout.channels import _sandbox, wechat
from checkout.channels._wechat_config import WeChatConfig
from checkout.clock import Clock
from checkout.config import Config, ConfigError, Env
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sandbox.keys import Keys
from sandbox.protocols import _huifu_keys
from shop.app import build
from wechat.keys import Merchant

from sandbox import keys as sandbox_keys

KEY = rsa.generate_private_key(65537, 2048)
REAL_KEY_ID = "PUB_KEY_ID_0119000000012024010100000000000000"


def private_pem(key: rsa.RSAPrivateKey) -> str:
    kind = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, plain).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def real(**changes: str) -> dict[str, str]:
    """Return the settings of a shop in production, with keys that only look real."""
    return {
        "SHOP_PUBLIC_URL": "https://shop.example.com",
        "SHOP_SECRET_KEY": "k" * 40,
        "SHOP_MCHID": "1900000001",
        "SHOP_MERCHANT_SERIAL": "A" * 40,
        "SHOP_MERCHANT_KEY": private_pem(KEY),
        "SHOP_APIV3_KEY": "a" * 32,
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": REAL_KEY_ID,
        "SHOP_WECHATPAY_PUBLIC_KEY": public_pem(KEY),
        "SHOP_MINIPROGRAM_APPID": "wx8888888888888888",
        "SHOP_MINIPROGRAM_SECRET": "a" * 32,
        **changes,
    }


def refusal(settings: dict[str, str]) -> str:
    """Return why a shop does not start, "" when it does."""
    try:
        build(Env(settings))
    except ConfigError as error:
        return str(error)
    return ""


def test_a_real_shop_starts() -> None:
    assert refusal(real()) == ""


def sandbox_material(keys: Keys) -> dict[str, str]:
    merchant = keys.merchants[0]
    other = {
        "mchid": "1900000002",
        "serial": "B" * 40,
        "apiv3_key": "a" * 32,
        "key": merchant.signer.private_pem(),
    }
    return {
        "SHOP_MCHID": merchant.mchid,
        "SHOP_SUB_MCHID": keys.merchants[2].subs[0],
        "SHOP_MERCHANT_KEY": merchant.signer.private_pem(),
        "SHOP_APIV3_KEY": merchant.apiv3_key,
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": keys.public_key.serial,
        "SHOP_WECHATPAY_PUBLIC_KEY": keys.public_key.public_pem(),
        "SHOP_OTHER_MERCHANTS": json.dumps([other]),
    }


@pytest.mark.parametrize("name", sorted(sandbox_material(sandbox_keys.make_keys())))
def test_nothing_of_the_sandbox_starts_in_production(keys: Keys, name: str) -> None:
    refused = refusal(real(**{name: sandbox_material(keys)[name]}))
    assert f"{name}: " in refused
    assert "to the sandbox, but SHOP_SANDBOX_URL is not set" in refused


@pytest.mark.parametrize("field", ["mchid", "key", "apiv3_key"])
def test_no_field_of_another_merchant_is_the_sandboxs(keys: Keys, field: str) -> None:
    merchant = keys.merchants[1]
    other = {"mchid": "1900000002", "serial": "B" * 40, "apiv3_key": "a" * 32}
    other["key"] = private_pem(KEY)
    assert refusal(real(SHOP_OTHER_MERCHANTS=json.dumps([other]))) == ""
    theirs = {
        "mchid": merchant.mchid,
        "key": merchant.signer.private_pem(),
        "apiv3_key": merchant.apiv3_key,
    }
    mixed = json.dumps([{**other, field: theirs[field]}])
    problem = f"SHOP_OTHER_MERCHANTS: merchant 1, {field}: belongs to the sandbox"
    assert problem in refusal(real(SHOP_OTHER_MERCHANTS=mixed))


def test_a_certificate_of_the_sandbox_beside_the_key_is_refused(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "apiclient_key.pem").write_text(private_pem(KEY))
    settings = real(SHOP_MERCHANT_KEY=str(tmp_path / "apiclient_key.pem"))
    assert refusal(settings) == ""
    certificate = keys.merchants[0].signer.certificate_pem()
    (tmp_path / "apiclient_cert.pem").write_text(certificate)
    assert "SHOP_MERCHANT_KEY: belongs to the sandbox" in refusal(settings)


@pytest.mark.parametrize(
    ("name", "value"), [("SHOP_MCHID", "1900000001"), ("SHOP_WECHATPAY_PUBLIC_KEY_ID", REAL_KEY_ID)]
)
def test_a_real_number_does_not_start_in_the_sandbox(keys: Keys, name: str, value: str) -> None:
    inside = real(**sandbox_material(keys)) | {
        "SHOP_SANDBOX_URL": "http://127.0.0.1:9",
        "SHOP_PUBLIC_URL": "http://127.0.0.1:8000",
        "SHOP_SUB_MCHID": "",
        "SHOP_OTHER_MERCHANTS": "",
    }
    assert refusal(inside) == ""
    assert f"{name}: is a real one, but SHOP_SANDBOX_URL is set" in refusal(inside | {name: value})


@pytest.mark.parametrize("what", ["mchid", "private_key", "apiv3_key", "key id", "public key"])
async def test_an_embedder_is_refused_as_well(keys: Keys, what: str) -> None:
    signer = keys.merchants[0].signer
    theirs = keys.merchants[0]
    merchant = Merchant(
        mchid=theirs.mchid if what == "mchid" else "1900000001",
        serial="A" * 40,
        private_key=signer.key if what == "private_key" else KEY,
        apiv3_key=(theirs.apiv3_key if what == "apiv3_key" else "a" * 32).encode(),
    )
    key_id = keys.public_key.serial if what == "key id" else REAL_KEY_ID
    public = (keys.public_key.key if what == "public key" else KEY).public_key()
    own = Config(public_url="https://shop.example.com")
    no_http: Any = None
    with pytest.raises(ConfigError, match="belongs to the sandbox"):
        wechat.build(WeChatConfig(merchant, {key_id: public}), own, no_http, Clock())


def test_the_sandbox_marks_every_key_that_it_makes(keys: Keys) -> None:
    signers = [merchant.signer for merchant in keys.merchants] + keys.platform
    assert all(_sandbox.is_sandbox_key(signer.key) for signer in [*signers, keys.public_key])
    assert not _sandbox.is_sandbox_key(KEY)
    certificates = [signer.certificate for signer in signers]
    assert all(_sandbox.is_sandbox_certificate(c) for c in certificates if c is not None)
    assert None not in certificates
    secrets = [merchant.apiv3_key for merchant in keys.merchants] + [keys.apiv2_key]
    assert all(secret.startswith("SANDBOX") and len(secret) == 32 for secret in secrets)


def test_what_other_channels_are_told_is_marked_too(keys: Keys) -> None:
    """Only where the channel is there: its settings from the sandbox's credentials."""
    modules = channels.modules()
    if "wechat_v2" in modules:
        refused = refusal(real(SHOP_APIV2_KEY=keys.apiv2_key))
        assert "SHOP_APIV2_KEY: belongs to the sandbox" in refused


def huifu(**changes: str) -> dict[str, str]:
    """Return the settings of a Huifu merchant in production, with keys that only look real."""
    return {
        "SHOP_HUIFU_SYS_ID": "6666000100000001",
        "SHOP_HUIFU_PRODUCT_ID": "SPIN",
        "SHOP_HUIFU_ID": "6666000100000001",
        "SHOP_HUIFU_PRIVATE_KEY": private_pem(KEY),
        "SHOP_HUIFU_PUBLIC_KEY": public_pem(KEY),
        **changes,
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("SHOP_HUIFU_PRODUCT_ID", "product_id"),
        ("SHOP_HUIFU_PRIVATE_KEY", "merchant_private_key"),
        ("SHOP_HUIFU_PUBLIC_KEY", "huifu_public_key"),
    ],
)
def test_nothing_of_the_sandboxs_huifu_starts_in_production(name: str, shown: str) -> None:
    assert refusal(real(**huifu())) == ""
    theirs = _huifu_keys.keys().shown()[shown]
    refused = refusal(real(**huifu(**{name: theirs})))
    assert "SHOP_HUIFU_PRODUCT_ID: or a key belongs to the sandbox" in refused


@pytest.mark.parametrize("what", ["product", "private key", "public key"])
def test_an_embedder_with_the_sandboxs_huifu_is_refused_as_well(what: str) -> None:
    theirs = _huifu_keys.keys()
    config = channels.modules()["huifu"].HuifuConfig(
        sys_id="6666000100000001",
        product_id=_huifu_keys.PRODUCT_ID if what == "product" else "SPIN",
        huifu_id="6666000100000001",
        private_key=theirs.merchant if what == "private key" else KEY,
        public_key=(theirs.gateway if what == "public key" else KEY).public_key(),
    )
    own = Config(public_url="https://shop.example.com")
    no_http: Any = None
    with pytest.raises(ConfigError, match="belongs to the sandbox"):
        channels.modules()["huifu"].build(config, own, no_http, Clock())


def certificate_of(key: rsa.RSAPrivateKey, organisation: str, path: Path) -> str:
    """Write a certificate for a key of ours; return its path."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1))
        .not_valid_after(datetime(2046, 1, 1))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(path)


def test_refunds_of_v2_do_not_show_a_certificate_of_the_sandbox(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(private_pem(KEY))
    settings = real(SHOP_APIV2_KEY="a" * 32, SHOP_MERCHANT_KEY=str(tmp_path / "key.pem"))
    named = "SHOP_MERCHANT_CERT: belongs to the sandbox"

    def refused(path: str) -> str:
        return refusal(settings | {"SHOP_MERCHANT_CERT": path})

    assert refused(certificate_of(KEY, "Tenpay.com", tmp_path / "real.pem")) == ""
    assert named in refused(certificate_of(KEY, "SANDBOX", tmp_path / "marked.pem"))
    (tmp_path / "theirs.pem").write_text(keys.merchants[0].signer.certificate_pem())
    assert named in refused(str(tmp_path / "theirs.pem"))


@pytest.mark.parametrize("key_form", ["path", "text", "one line"])
@pytest.mark.parametrize("certificate_form", ["path", "text"])
def test_refunds_of_v2_take_key_and_certificate_in_every_form_that_settings_take(
    tmp_path: Path, key_form: str, certificate_form: str
) -> None:
    text = private_pem(KEY)
    (tmp_path / "key.pem").write_text(text)
    path = certificate_of(KEY, "Tenpay.com", tmp_path / "cert.pem")
    keys_of = {
        "path": str(tmp_path / "key.pem"),
        "text": text,
        "one line": text.replace("\n", r"\n"),
    }
    certificates = {"path": path, "text": Path(path).read_text()}
    settings = real(
        SHOP_APIV2_KEY="a" * 32,
        SHOP_MERCHANT_KEY=keys_of[key_form],
        SHOP_MERCHANT_CERT=certificates[certificate_form],
    )
    assert refusal(settings) == ""


def test_a_certificate_of_another_key_is_told_before_the_first_refund_of_v2(tmp_path: Path) -> None:
    other = rsa.generate_private_key(65537, 2048)
    settings = real(
        SHOP_APIV2_KEY="a" * 32,
        SHOP_MERCHANT_KEY=private_pem(KEY),
        SHOP_MERCHANT_CERT=certificate_of(other, "Tenpay.com", tmp_path / "cert.pem"),
    )
    assert "SHOP_MERCHANT_CERT: refunds of APIv2 need it and its key (SSLError)" in refusal(
        settings
    )
