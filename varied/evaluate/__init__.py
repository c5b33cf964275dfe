"""How good a model is: metrics with their standard errors."""

from varied.evaluate.active_units import active_units, collapse_warning, is_active
from varied.evaluate.aggregate_posterior import AggregatePosterior, aggregate_posterior, c2st
from varied.evaluate.ais import AISResult, ais, bdmc, rate_distortion
from varied.evaluate.calibration import Calibration, calibration, coverage
from varied.evaluate.column_nll import column_costs
from varied.evaluate.dcr import DCRCentile, DCRResult, distance_to_closest_record
from varied.evaluate.detection import (
    Detection,
    Threshold,
    auroc,
    average_precision,
    detection,
    fpr_at,
    p_values,
    threshold,
)
from varied.evaluate.disentanglement import (
    DCI,
    beta_vae,
    dci,
    explicitness,
    factor_vae,
    gaps,
    information,
    mig,
    modularity,
    sap,
    scores,
)
from varied.evaluate.distances import nearest
from varied.evaluate.elbo import (
    Estimate,
    Evaluation,
    PassResult,
    evaluate,
    forward_pass,
    log_likelihood,
)
from varied.evaluate.feature_extractors import Extractor, extractor_from, standardized
from varied.evaluate.feature_nets import FeatureNet, train_classifier, train_encoder
from varied.evaluate.frechet import frechet, sharpness
from varied.evaluate.image_similarity import psnr, ssim
from varied.evaluate.memorization import MemorizationTest, memorization
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.prdc import PRDC, prdc
from varied.evaluate.probes import Probe, probe
from varied.evaluate.representation_similarity import (
    Stability,
    cka,
    mcc,
    shared_neighbors,
    spread_over_seeds,
    stability,
)
from varied.evaluate.tabular import Pairs, Shape, Shapes, column_shapes, pair_trends
from varied.evaluate.tstr import TSTRResult, c2st_auroc, tstr

__all__ = [
    "DCI",
    "PRDC",
    "AISResult",
    "AggregatePosterior",
    "Calibration",
    "DCRCentile",
    "DCRResult",
    "Detection",
    "Estimate",
    "Evaluation",
    "Extractor",
    "FeatureNet",
    "MemorizationTest",
    "Metric",
    "MetricGroup",
    "Pairs",
    "PassResult",
    "Probe",
    "Shape",
    "Shapes",
    "Stability",
    "TSTRResult",
    "Threshold",
    "active_units",
    "aggregate_posterior",
    "ais",
    "auroc",
    "average_precision",
    "bdmc",
    "beta_vae",
    "c2st",
    "c2st_auroc",
    "calibration",
    "cka",
    "collapse_warning",
    "column_costs",
    "column_shapes",
    "coverage",
    "dci",
    "detection",
    "distance_to_closest_record",
    "evaluate",
    "explicitness",
    "extractor_from",
    "factor_vae",
    "forward_pass",
    "fpr_at",
    "frechet",
    "gaps",
    "information",
    "is_active",
    "log_likelihood",
    "mcc",
    "memorization",
    "mig",
    "modularity",
    "nearest",
    "p_values",
    "pair_trends",
    "prdc",
    "probe",
    "psnr",
    "rate_distortion",
    "sap",
    "scores",
    "shared_neighbors",
    "sharpness",
    "spread_over_seeds",
    "ssim",
    "stability",
    "standardized",
    "threshold",
    "train_classifier",
    "train_encoder",
    "tstr",
]
