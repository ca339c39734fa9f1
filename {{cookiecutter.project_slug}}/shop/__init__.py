"""The shop: buyers, orders and the ledger of their payments. Read app.py first."""
