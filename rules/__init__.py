"""The rules that ship with dropcheck: one file each, documentation, examples and check together."""

from __future__ import annotations

from dropcheck.rule import Rule

from .dc001_unused_suppression import UnusedSuppression
from .dc101_dropout_before_batchnorm import DropoutBeforeBatchNorm
from .dc102_dropout_before_weight_before_batchnorm import DropoutBeforeWeightBeforeBatchNorm
from .dc103_dropout_before_max_pool import DropoutBeforeMaxPool
from .dc104_accumulated_shift import AccumulatedShift
from .dc105_stochastic_depth_before_batchnorm import StochasticDepthBeforeBatchNorm
from .dc110_high_drop_rate import HighDropRate
from .dc111_keep_prob_confusion import KeepProbConfusion
from .dc201_residual_dropout_position import ResidualDropoutPosition
from .dc202_dropout_after_last_weight import DropoutAfterLastWeight
from .dc203_repeated_dropout import RepeatedDropout
from .dc204_dropout_on_residual_stream import DropoutOnResidualStream
from .dc301_dropout_after_global_pool import DropoutAfterGlobalPool
from .dc302_dropout_on_logits import DropoutOnLogits
from .dc401_elementwise_dropout_on_feature_map import ElementwiseDropoutOnFeatureMap
from .dc402_channel_dropout_shape import ChannelDropoutShape
from .dc403_stochastic_depth_schedule import StochasticDepthSchedule
from .dc404_alpha_dropout_without_selu import AlphaDropoutWithoutSelu
from .dc501_functional_dropout_always_on import FunctionalDropoutAlwaysOn
from .dc502_dropout_built_in_forward import DropoutBuiltInForward
from .dc503_attention_dropout_always_on import AttentionDropoutAlwaysOn
from .dc504_mc_dropout_by_train import McDropoutByTrain
from .dc505_unused_dropout import UnusedDropout
from .dc506_unregistered_dropout import UnregisteredDropout
from .dc601_uncorrected_init_with_dropout import UncorrectedInitWithDropout
from .dc701_stale_batchnorm_statistics import StaleBatchNormStatistics

BUILTIN: tuple[Rule, ...] = (
    UnusedSuppression(),
    DropoutBeforeBatchNorm(),
    DropoutBeforeWeightBeforeBatchNorm(),
    DropoutBeforeMaxPool(),
    AccumulatedShift(),
    StochasticDepthBeforeBatchNorm(),
    HighDropRate(),
    KeepProbConfusion(),
    ResidualDropoutPosition(),
    DropoutAfterLastWeight(),
    RepeatedDropout(),
    DropoutOnResidualStream(),
    DropoutAfterGlobalPool(),
    DropoutOnLogits(),
    ElementwiseDropoutOnFeatureMap(),
    ChannelDropoutShape(),
    StochasticDepthSchedule(),
    AlphaDropoutWithoutSelu(),
    FunctionalDropoutAlwaysOn(),
    DropoutBuiltInForward(),
    AttentionDropoutAlwaysOn(),
    McDropoutByTrain(),
    UnusedDropout(),
    UnregisteredDropout(),
    UncorrectedInitWithDropout(),
    StaleBatchNormStatistics(),
)
"""Sorted by code."""
