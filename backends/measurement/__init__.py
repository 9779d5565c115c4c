"""How models are measured: the protocol, the service that keeps to it, how models find their way to devices."""
