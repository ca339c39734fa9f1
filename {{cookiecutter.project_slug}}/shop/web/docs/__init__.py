"""The page /docs: the API with examples, in Chinese or English; openapi.json takes its words."""
