"""Fits AutoETS and AutoTheta of statsforecast, series by series; started once and asked by forecast-speed.bench.ts.

Writes { versions } first. Then reads one line { "horizon": h, "series": [{ "values": [...], "period": m }] } after another and answers each with
{ seconds: { ets, theta }, fits: [{ ets: { aicc, mean }, theta: { mean } }] }; an AICc that is no number is null.
One thread. The functions behind the model classes are called, without data frames, which is the fastest way in.
"""

import json
import math
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


def timed(fit, forecast, answer, series, horizon):
    start = time.perf_counter()
    models = [fit(values, period) for values, period in series]
    means = [forecast(model, horizon)["mean"] for model in models]
    seconds = time.perf_counter() - start
    return seconds, [answer(model, [float(value) for value in mean]) for model, mean in zip(models, means)]


def criterion(model, mean):
    aicc = float(model["aicc"])
    return dict(aicc=aicc if math.isfinite(aicc) else None, mean=mean)


def say(answer):
    print(json.dumps(answer, allow_nan=False), flush=True)


say(dict(versions=dict(statsforecast=statsforecast.__version__, numpy=np.__version__, python=sys.version.split()[0])))
for line in sys.stdin:
    job = json.loads(line)
    series = [(np.array(item["values"]), item["period"]) for item in job["series"]]
    ets_seconds, ets = timed(ets_f, forecast_ets, criterion, series, job["horizon"])
    theta_seconds, theta = timed(auto_theta, forecast_theta, lambda model, mean: dict(mean=mean), series, job["horizon"])
    say(dict(seconds=dict(ets=ets_seconds, theta=theta_seconds), fits=[dict(ets=e, theta=t) for e, t in zip(ets, theta)]))
