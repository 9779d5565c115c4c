"""What may vary: one file a subject, each with a function of Tune domains and the plan a config decodes to.

A space has five fixed keys, each of which may be left out: architecture, pruning, bits, teacher, training.
The functions here give plain Ray Tune domains; ``bind`` joins them into a ``Space``, which decodes the
configs that any searcher draws from them. Importing this package pulls in neither torch nor ray.
"""

from raysearch.search_spaces.architectures import enlarge
from raysearch.search_spaces.architectures.conv1d import Conv1dPlan, Stage1dPlan, conv1d
from raysearch.search_spaces.architectures.mlp import LayerPlan, MLPPlan, mlp
from raysearch.search_spaces.architectures.mobilenet import InvertedPlan, MobileNetPlan, mobilenet
from raysearch.search_spaces.architectures.nni_hub import nni_hub
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan, resnet
from raysearch.search_spaces.architectures.vit import BlockPlan, ViTPlan, vit
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.bit_widths import BitWidthPlan, bit_widths
from raysearch.search_spaces.plans import TrialPlan, Variant
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan, channel_pruning, kept_channels
from raysearch.search_spaces.pruning.weight_sparsity import SparsityPlan, weight_sparsity
from raysearch.search_spaces.space import Space
from raysearch.search_spaces.teachers import TeacherPlan, teachers
from raysearch.search_spaces.training import TrainingPlan

__all__ = [
    "BitWidthPlan",
    "BlockPlan",
    "Conv1dPlan",
    "InvertedPlan",
    "LayerPlan",
    "MLPPlan",
    "MobileNetPlan",
    "PruningPlan",
    "ResNetPlan",
    "Space",
    "SparsityPlan",
    "Stage1dPlan",
    "StagePlan",
    "TeacherPlan",
    "TrainingPlan",
    "TrialPlan",
    "Variant",
    "ViTPlan",
    "bind",
    "bit_widths",
    "channel_pruning",
    "conv1d",
    "enlarge",
    "kept_channels",
    "mlp",
    "mobilenet",
    "nni_hub",
    "resnet",
    "teachers",
    "vit",
    "weight_sparsity",
]
