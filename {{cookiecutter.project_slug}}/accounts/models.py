"""The tables of buyers. Times are aware UTC."""

import secrets
from datetime import datetime

from tortoise import fields
from tortoise.models import Model


def random_id() -> str:
    """Return 16 random hexadecimal digits: a buyer's id tells nothing and is never used again."""
    return secrets.token_hex(8)


class Buyer(Model):
    """A person who buys 买家; known by one or more identities, or by none (a guest).

    A guest who has not ordered by `guest_until` is forgotten then; None: kept for good.
    """

    id = fields.CharField(16, primary_key=True, default=random_id)
    created_at = fields.DatetimeField()
    guest_until: datetime | None = fields.DatetimeField(null=True, db_index=True)
    identities: fields.ReverseRelation["Identity"]

    class Meta:
        table = "accounts_buyer"
        table_description = "买家"


class Identity(Model):
    """One (appid, openid) of a buyer; buyers are joined only by an equal unionid."""

    id = fields.BigIntField(primary_key=True)
    buyer: fields.ForeignKeyRelation[Buyer] = fields.ForeignKeyField(
        "accounts.Buyer", "identities", on_delete=fields.RESTRICT, db_index=True
    )
    buyer_id: str
    kind = fields.CharField(20)
    appid = fields.CharField(32)
    openid = fields.CharField(128)
    unionid = fields.CharField(128, null=True, db_index=True)

    class Meta:
        table = "accounts_identity"
        table_description = "身份"
        unique_together = (("appid", "openid"),)


class OAuthState(Model):
    """One trip to WeChat's authorize page: single use, bound to the browser that began it."""

    state = fields.CharField(64, primary_key=True)
    browser = fields.CharField(64)
    return_to = fields.CharField(512)
    expires_at: datetime = fields.DatetimeField(db_index=True)
    code_hash = fields.CharField(64, null=True)
    buyer_id = fields.CharField(16, null=True)

    class Meta:
        table = "accounts_oauth_state"
        table_description = "网页授权"
