"""The router over HTTP: an ASGI application, how bodies are read and answers sent, and a page to watch."""
