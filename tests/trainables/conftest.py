"""A small residual network, trained-looking."""

from residual_network import inputs, network, resnet_plan, uniform

__all__ = ["inputs", "network", "resnet_plan", "uniform"]
