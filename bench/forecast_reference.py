"""Fits AutoETS and AutoTheta of statsforecast to the series in a JSON file; called by forecast-speed.bench.ts.

Reads [{ "values": [...], "period": m }], prints { versions, seconds: { ets, theta }, fits: [{ ets: { aicc, mean }, theta: { mean } }] }.
One thread. The functions behind the model classes are called, without data frames, which is the fastest way in.
"""

import json
import os
import sys
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import statsforecast
from statsforecast.ets import ets_f, forecast_ets
from statsforecast.theta import auto_theta, forecast_theta

warnings.filterwarnings("ignore")
with open(sys.argv[1]) as file:
    series = json.load(file)
horizon = int(sys.argv[2])


def run(fit, forecast, answer):
    answers = []
    fit(np.array(series[0]["values"]), series[0]["period"])  # warm up
    start = time.perf_counter()
    for item in series:
        model = fit(np.array(item["values"]), item["period"])
        answers.append(answer(model, forecast(model, horizon)["mean"]))
    return time.perf_counter() - start, answers


ets_seconds, ets = run(ets_f, forecast_ets, lambda model, mean: dict(aicc=float(model["aicc"]), mean=mean.tolist()))
theta_seconds, theta = run(auto_theta, forecast_theta, lambda model, mean: dict(mean=mean.tolist()))
json.dump(
    dict(
        versions=dict(statsforecast=statsforecast.__version__, numpy=np.__version__),
        seconds=dict(ets=ets_seconds, theta=theta_seconds),
        fits=[dict(ets=e, theta=t) for e, t in zip(ets, theta)],
    ),
    sys.stdout,
)
