"""PSNR and NRMSE."""

from __future__ import annotations

import math

import numpy as np


def psnr(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """10 log10(range² / MSE) in dB over all voxels; infinite for an exact prediction."""
    error = np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)
    return decibels(float(np.mean(error * error)) / data_range**2)


def decibels(normalised_mse: float) -> float:
    """−10 log10 of MSE / range²."""
    return math.inf if normalised_mse == 0 else -10 * math.log10(normalised_mse)


def nrmse(prediction: np.ndarray, truth: np.ndarray) -> float:
    """‖prediction − truth‖ / ‖truth‖, Euclidean norms over all voxels: 0 is exact, 1 is as good as nothing."""
    truth = np.asarray(truth, np.float64)
    return float(np.linalg.norm(np.asarray(prediction, np.float64) - truth) / np.linalg.norm(truth))
