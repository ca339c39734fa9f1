"""What the sandbox made is recognised wherever it turns up, and never starts in production.

Everybody who has a sandbox has its keys, WeChat's included: with them in production, forged
notifications would be proved. So the sandbox marks all that it makes: merchant numbers begin with
9, key ids with PUB_KEY_ID_9, secrets with SANDBOX; certificates carry the organisation SANDBOX;
RSA keys have the public exponent 65539, where real ones have 65537.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

MARK = "SANDBOX"
EXPONENT = 65539


class WrongWorld(ValueError):
    """Raised when sandbox material is used in production, or a real number in the sandbox."""


def check_number(made_by_sandbox: bool, *, sandbox: bool) -> None:
    """Keep the sandbox's numbers out of production, and real ones out of the sandbox."""
    check_material(made_by_sandbox, sandbox=sandbox)
    if sandbox and not made_by_sandbox:
        raise WrongWorld("is a real one, but SHOP_SANDBOX_URL is set: keep one 二者只能留一个")


def check_material(made_by_sandbox: bool, *, sandbox: bool) -> None:
    """Keep what the sandbox made out of production; raise WrongWorld."""
    if made_by_sandbox and not sandbox:
        raise WrongWorld("belongs to the sandbox, but SHOP_SANDBOX_URL is not set")


def is_sandbox_key(key: RSAPrivateKey | RSAPublicKey) -> bool:
    """Tell whether the sandbox made this RSA key."""
    public = key.public_key() if isinstance(key, RSAPrivateKey) else key
    return public.public_numbers().e == EXPONENT


def is_sandbox_certificate(certificate: x509.Certificate) -> bool:
    """Tell whether the sandbox issued this certificate."""
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return any(name.value == MARK for name in names)
