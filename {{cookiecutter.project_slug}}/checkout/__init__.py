"""The payment engine: orders, payments, refunds and their ledger, without an HTTP server.

Read engine.py first. A payment goes payments → a channel → wechat/; a notification goes
notifications → a channel → ledger. Nothing else moves money.
"""
