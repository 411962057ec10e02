"""Running requests: each request id once, whoever asks again joins; the answer first, the report behind it."""
