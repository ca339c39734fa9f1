"""The database itself keeps refunds below what was paid; SQLite gets a trigger, after migrating."""

from typing import Any

from tortoise import migrations
from tortoise.migrations import operations as ops

CHECK = """ALTER TABLE checkout_share ADD CONSTRAINT checkout_refund_cap
CHECK (reserved_fen >= 0 AND reserved_fen <= total_fen)"""


async def keep_the_cap(_: Any, editor: Any) -> None:
    if editor.DIALECT != "sqlite":
        await editor.client.execute_query(CHECK)


class Migration(migrations.Migration):
    dependencies = [("checkout", "0001_initial")]
    operations = [ops.RunPython(keep_the_cap)]
