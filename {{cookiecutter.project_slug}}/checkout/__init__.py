"""The payment engine: orders, payments, refunds and their ledger, without an HTTP server.

Read engine.py first. A payment goes payments → a channel → wechat/; a notification goes
notifications → a channel → ledger. Nothing else moves money.
"""

from checkout.clock import Clock as Clock
from checkout.config import Config as Config
from checkout.engine import Checkout as Checkout
from checkout.events import Hooks as Hooks
from checkout.orders import Item as Item
from checkout.payments import Payer as Payer
