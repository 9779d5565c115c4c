"""How models are measured: the protocol, the service that keeps to it, and the way of models to devices."""
