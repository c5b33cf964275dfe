"""Metrics for trained models, with standard errors."""

from varied.evaluate.active_units import active_units, collapse_warning, is_active
from varied.evaluate.aggregate_posterior import AggregatePosterior, aggregate_posterior
from varied.evaluate.ais import AISResult, ais, bdmc, rate_distortion
from varied.evaluate.anomaly_threshold import Threshold, p_values, threshold
from varied.evaluate.c2st import c2st, c2st_auroc
from varied.evaluate.calibration import Calibration, calibration, coverage
from varied.evaluate.column_nll import column_nll
from varied.evaluate.dcr import DCRResult, distance_to_closest_record
from varied.evaluate.detection import Detection, auroc, average_precision, detection, fpr_at
from varied.evaluate.disentanglement import (
    DCI,
    beta_vae,
    dci,
    explicitness,
    factor_vae,
    mig,
    mig_by_factor,
    modularity,
    mutual_information,
    sap,
    scores,
)
from varied.evaluate.distances import nearest
from varied.evaluate.elbo import Evaluation, PassResult, evaluate, forward_pass, log_likelihood
from varied.evaluate.estimate import Estimate
from varied.evaluate.feature_extractors import Extractor, extractor_from, fit_standardizer
from varied.evaluate.feature_nets import FeatureNet, train_classifier, train_encoder
from varied.evaluate.frechet import frechet, sharpness
from varied.evaluate.image_similarity import psnr, ssim
from varied.evaluate.memorization import MemorizationTest, memorization
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.molecule_sets import (
    MoleculeSet,
    chemnet_features,
    compare_molecules,
    internal_diversity,
    unique_fraction,
)
from varied.evaluate.molecules import (
    GeneratedMolecules,
    exact_reconstruction,
    generated_molecules,
    property_distances,
)
from varied.evaluate.prdc import PRDC, prdc
from varied.evaluate.probes import Probe, probe
from varied.evaluate.representation_similarity import (
    Stability,
    cka,
    mcc,
    mean_over_seeds,
    shared_neighbors,
    stability,
)
from varied.evaluate.separate_cluster import separate_cluster
from varied.evaluate.tabular import ColumnShapes, PairTrends, column_shapes, pair_trends
from varied.evaluate.tstr import TSTRResult, tstr

__all__ = [
    "DCI",
    "PRDC",
    "AISResult",
    "AggregatePosterior",
    "Calibration",
    "ColumnShapes",
    "DCRResult",
    "Detection",
    "Estimate",
    "Evaluation",
    "Extractor",
    "FeatureNet",
    "GeneratedMolecules",
    "MemorizationTest",
    "Metric",
    "MetricGroup",
    "MoleculeSet",
    "PairTrends",
    "PassResult",
    "Probe",
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
    "chemnet_features",
    "cka",
    "collapse_warning",
    "column_nll",
    "column_shapes",
    "compare_molecules",
    "coverage",
    "dci",
    "detection",
    "distance_to_closest_record",
    "evaluate",
    "exact_reconstruction",
    "explicitness",
    "extractor_from",
    "factor_vae",
    "fit_standardizer",
    "forward_pass",
    "fpr_at",
    "frechet",
    "generated_molecules",
    "internal_diversity",
    "is_active",
    "log_likelihood",
    "mcc",
    "mean_over_seeds",
    "memorization",
    "mig",
    "mig_by_factor",
    "modularity",
    "mutual_information",
    "nearest",
    "p_values",
    "pair_trends",
    "prdc",
    "probe",
    "property_distances",
    "psnr",
    "rate_distortion",
    "sap",
    "scores",
    "separate_cluster",
    "shared_neighbors",
    "sharpness",
    "ssim",
    "stability",
    "threshold",
    "train_classifier",
    "train_encoder",
    "tstr",
    "unique_fraction",
]
