"""The database itself keeps refunds below what was paid; SQLite can add no CHECK, but a trigger."""

from typing import Any

from tortoise import migrations
from tortoise.migrations import operations as ops

CAP = "reserved_fen >= 0 AND reserved_fen <= total_fen"
CHECK = f"ALTER TABLE payment ADD CONSTRAINT payment_refund_cap CHECK ({CAP})"
TRIGGER = """CREATE TRIGGER payment_refund_cap BEFORE UPDATE OF reserved_fen ON payment
WHEN NEW.reserved_fen < 0 OR NEW.reserved_fen > NEW.total_fen
BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: payment_refund_cap'); END"""


async def keep_the_cap(_: Any, editor: Any) -> None:
    await editor.client.execute_query(TRIGGER if editor.DIALECT == "sqlite" else CHECK)


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [ops.RunPython(keep_the_cap)]
