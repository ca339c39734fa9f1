"""The protocol of the aggregator Huifu 汇付斗拱. Copy this folder into any project: README.md."""
