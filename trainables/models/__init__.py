"""Networks: the searchable one, and torchvision's by name."""
