"""Who buys: buyers, the ways in which they are known, how they log in, and their sessions."""
