"""The helpers of all tests: whoever tests the shop begins here."""
