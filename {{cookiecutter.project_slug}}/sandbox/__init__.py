"""A WeChat on your own machine: it checks what WeChat checks and answers WeChat's codes."""
