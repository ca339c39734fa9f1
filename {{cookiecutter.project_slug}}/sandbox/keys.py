"""The keys both sides need, made at the first run and kept private in one file."""

import base64
import json
import math
import os
import secrets
import string
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

LISTED_FOR = 5 * 24 * 3600  # seconds in which a new platform certificate signs nothing yet
FIVE_YEARS = timedelta(days=5 * 365)
SERIAL_START = 1 << 156  # 40 hex digits, the first from 1 to 7
SERIAL_END = 1 << 159
KINDS = ("miniprogram", "official_account", "app")
#: all that is made here tells where it comes from, so that no shop takes it in production: RSA
#: keys by their public exponent (real ones have 65537), secrets by how they begin
EXPONENT = 65539
MARK = "SANDBOX"


@dataclass(frozen=True)
class Signer:
    """A private key and the serial number that names it in `Wechatpay-Serial`."""

    serial: str
    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate | None = field(default=None, repr=False)

    def private_pem(self) -> str:
        """Write the private key as PKCS#8 PEM, the form of apiclient_key.pem."""
        kind = serialization.PrivateFormat.PKCS8
        plain = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, kind, plain).decode()

    def public_pem(self) -> str:
        """Write the public key as SPKI PEM, the form of pub_key.pem."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    def is_valid(self, now: float) -> bool:
        """Tell whether the certificate, if there is one, covers this Unix second."""
        if self.certificate is None:
            return True
        return now < self.certificate.not_valid_after_utc.timestamp()

    def certificate_pem(self) -> str:
        """Write the certificate as PEM, empty when there is none."""
        if self.certificate is None:
            return ""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class App:
    """An application: `kind` is miniprogram, official_account or app; bound to `mchids`."""

    kind: str
    appid: str
    secret: str = field(repr=False)
    mchids: tuple[str, ...]


@dataclass(frozen=True)
class Merchant:
    """A merchant number; of a service provider 服务商 `subs` are its sub merchants 特约商户.

    `serials` are those of older certificates of the same key, which still count.
    """

    mchid: str
    signer: Signer
    apiv3_key: str = field(repr=False)
    subs: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()


@dataclass
class Keys:
    """Everything secret in the sandbox; `platform` is ordered, the newest last.

    `merchants`: the one that shops use, another one (for combined orders), a service provider.
    `used_from` says by serial from which virtual Unix second a platform certificate signs; one
    that is not named signs already.
    """

    merchants: list[Merchant]
    public_key: Signer
    platform: list[Signer]
    apps: list[App]
    apiv2_key: str = field(repr=False)
    used_from: dict[str, float] = field(default_factory=dict)

    def rotate(self, now: float) -> None:
        """Go one step: list a new platform certificate, or use the one that is only listed.

        A listed one is used after five days anyhow. Those before stay listed and valid.
        """
        newest = self.platform[-1].serial
        if self.used_from.get(newest, 0) > now:
            self.used_from[newest] = now
            return
        signer = issue_certificate("Tenpay.com sign")
        self.used_from[signer.serial] = now + LISTED_FOR
        self.platform.append(signer)

    def platform_signer(self, now: float, wanted: str = "") -> Signer:
        """Choose the platform certificate that signs: the wanted one, or the newest in use."""
        for signer in self.platform:
            if signer.serial == wanted and signer.is_valid(now):
                return signer
        return [signer for signer in self.platform if self._is_used(signer, now)][-1]

    def lead_with_zero(self) -> None:
        """Give every merchant a certificate whose serial begins with 0; the older one counts on."""
        self.merchants = [_with_leading_zero(merchant) for merchant in self.merchants]

    def merchant(self, mchid: str) -> Merchant | None:
        """Find a merchant that has keys."""
        return next((merchant for merchant in self.merchants if merchant.mchid == mchid), None)

    def apps_of(self, mchid: str) -> list[App]:
        """List the applications bound to a merchant number."""
        return [app for app in self.apps if mchid in app.mchids]

    def _is_used(self, signer: Signer, now: float) -> bool:
        return self.used_from.get(signer.serial, 0) <= now


def make_keys() -> Keys:
    """Make merchants, their apps and WeChat's own keys, all recognisably of the sandbox."""
    own = _merchant()
    other = _merchant()
    provider = _merchant(subs=(_mchid(), _mchid()))
    apps = [_app(kind, own.mchid, other.mchid) for kind in KINDS]
    apps += [_app(kind, provider.mchid) for kind in KINDS]
    apps += [_app(kind, sub) for sub in provider.subs for kind in KINDS]
    serial = "PUB_KEY_ID_9" + _pick(string.digits, 27)
    return Keys(
        merchants=[own, other, provider],
        public_key=Signer(serial, make_rsa_key()),
        platform=[issue_certificate("Tenpay.com sign")],
        apps=apps,
        apiv2_key=_secret(),
    )


def open_keys(folder: Path) -> Keys:
    """Read `keys.json` in the folder, or make it there, readable by its owner only."""
    file = folder / "keys.json"
    if not file.exists() or "merchants" not in json.loads(file.read_text()):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = folder / f".{secrets.token_hex(4)}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(_to_json(make_keys()), out, indent=1)
        fresh.replace(file)
    return _from_json(json.loads(file.read_text()))


def issue_certificate(common_name: str) -> Signer:
    """Make a key with a certificate of the organisation SANDBOX, valid for five years.

    Its serial has 40 digits and begins with none that a careless reader would drop.
    """
    serial = secrets.randbelow(SERIAL_END - SERIAL_START) + SERIAL_START
    return _certify(make_rsa_key(), common_name, serial)


def make_rsa_key() -> rsa.RSAPrivateKey:
    """Make an RSA key of 2048 bits whose public exponent tells that it is the sandbox's."""
    plain = rsa.generate_private_key(65537, 2048).private_numbers()
    try:
        exponent = pow(EXPONENT, -1, math.lcm(plain.p - 1, plain.q - 1))
    except ValueError:  # these primes do not go with it: once in 30,000 keys
        return make_rsa_key()
    numbers = rsa.RSAPrivateNumbers(
        p=plain.p,
        q=plain.q,
        d=exponent,
        dmp1=rsa.rsa_crt_dmp1(exponent, plain.p),
        dmq1=rsa.rsa_crt_dmq1(exponent, plain.q),
        iqmp=plain.iqmp,
        public_numbers=rsa.RSAPublicNumbers(EXPONENT, plain.public_numbers.n),
    )
    return numbers.private_key()


def _with_leading_zero(merchant: Merchant) -> Merchant:
    serial = secrets.randbelow(SERIAL_START - 1) + 1
    signer = _certify(merchant.signer.key, merchant.mchid, serial)
    serials = (*merchant.serials, merchant.signer.serial)
    return replace(merchant, signer=signer, serials=serials)


def _certify(key: rsa.RSAPrivateKey, common_name: str, serial: int) -> Signer:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SANDBOX"),
        ]
    )
    yesterday = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial)
    builder = builder.not_valid_before(yesterday).not_valid_after(yesterday + FIVE_YEARS)
    return _signer(key, builder.sign(key, hashes.SHA256()))


def _signer(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> Signer:
    return Signer(f"{certificate.serial_number:040X}", key, certificate)


def _app(kind: str, *mchids: str) -> App:
    return App(kind, "wx9" + secrets.token_hex(8)[:15], secrets.token_hex(16), mchids)


def _mchid() -> str:
    return "9" + _pick(string.digits, 9)


def _merchant(subs: tuple[str, ...] = ()) -> Merchant:
    mchid = _mchid()
    return Merchant(
        mchid=mchid,
        signer=issue_certificate(mchid),
        apiv3_key=_secret(),
        subs=subs,
    )


def _secret() -> str:
    """Make an API key of 32 letters and digits."""
    return MARK + _pick(string.ascii_letters + string.digits, 32 - len(MARK))


def _pick(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _to_json(keys: Keys) -> dict[str, Any]:
    return {
        "merchants": [
            {
                "mchid": merchant.mchid,
                "signer": [merchant.signer.private_pem(), merchant.signer.certificate_pem()],
                "apiv3_key": merchant.apiv3_key,
                "subs": merchant.subs,
            }
            for merchant in keys.merchants
        ],
        "apiv2_key": keys.apiv2_key,
        "public_key_id": keys.public_key.serial,
        "public_key": keys.public_key.private_pem(),
        "platform": [[signer.private_pem(), signer.certificate_pem()] for signer in keys.platform],
        "apps": [[app.kind, app.appid, app.secret, list(app.mchids)] for app in keys.apps],
    }


def _from_json(stored: dict[str, Any]) -> Keys:
    return Keys(
        merchants=[
            Merchant(
                mchid=merchant["mchid"],
                signer=_load(*merchant["signer"]),
                apiv3_key=merchant["apiv3_key"],
                subs=tuple(merchant["subs"]),
            )
            for merchant in stored["merchants"]
        ],
        public_key=Signer(stored["public_key_id"], _load_key(stored["public_key"])),
        platform=[_load(*pair) for pair in stored["platform"]],
        apps=[
            App(kind, appid, secret, tuple(mchids))
            for kind, appid, secret, mchids in stored["apps"]
        ],
        apiv2_key=stored["apiv2_key"],
    )


def _load(key_pem: str, certificate_pem: str) -> Signer:
    return _signer(_load_key(key_pem), x509.load_pem_x509_certificate(certificate_pem.encode()))


def _load_key(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def stable_openid(appid: str, person: str) -> str:
    """Derive the openid of a made-up person: 28 characters, another one for each app."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(f"{appid} {person}".encode())
    return "o" + base64.urlsafe_b64encode(digest.finalize()).decode()[:27]
