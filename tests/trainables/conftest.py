"""A small residual network, trained-looking."""

from residual_network import folded, inputs, network, resnet_plan, uniform

__all__ = ["folded", "inputs", "network", "resnet_plan", "uniform"]
