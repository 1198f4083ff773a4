"""Writes optimizers.fixture.json: parameters after each of several steps of torch.optim.AdamW, SGD and clip_grad_norm_ on given gradients,
running means of them (AveragedModel), and learning rates of torch.optim.lr_scheduler.

Usage: python optimizers.fixture.py > optimizers.fixture.json   (torch==2.13.0, CPU; float64, so that only formulas are compared)
"""
import json
import torch

torch.manual_seed(1)
size, steps = 5, 6
start = [torch.randn(size, dtype=torch.float64), torch.randn(3, dtype=torch.float64)]
gradients = [[torch.randn(size, dtype=torch.float64) * 10 ** (-i % 3), torch.randn(3, dtype=torch.float64)] for i in range(steps)]


def run(make, max_norm=None):
    parameters = [p.clone().requires_grad_() for p in start]
    optimizer = make(parameters)
    after, norms = [], []
    for step in gradients:
        for p, g in zip(parameters, step):
            p.grad = g.clone()
        if max_norm is not None:
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, max_norm).item())
        optimizer.step()
        after.append([p.tolist() for p in parameters])
    return {"after": after, "norms": norms}


def averages(after, decay):
    """Running means of the parameters after each step, begun with the parameters before the first."""
    model = torch.nn.ParameterList(p.clone() for p in start)
    mean = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))
    mean.update_parameters(model)
    means = []
    for step in after:
        with torch.no_grad():
            for p, values in zip(model, step):
                p.copy_(torch.tensor(values, dtype=torch.float64))
        mean.update_parameters(model)
        means.append([p.tolist() for p in mean.module])
    return means


def rates(kind, steps=40, warmup=8, floor=0.1, peak=3e-4):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=peak)
    schedulers = torch.optim.lr_scheduler
    rise = schedulers.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    after = {
        "constant": lambda: schedulers.ConstantLR(optimizer, factor=1),
        "linear": lambda: schedulers.LinearLR(optimizer, start_factor=1, end_factor=floor, total_iters=steps - warmup),
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=floor * peak),
    }[kind]()
    schedule = schedulers.SequentialLR(optimizer, [rise, after], milestones=[warmup])
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


groups = lambda p: [{"params": [p[0]], "weight_decay": 0.1}, {"params": [p[1]], "weight_decay": 0.0}]
adamw = run(lambda p: torch.optim.AdamW(groups(p), lr=1e-2, betas=(0.9, 0.95), eps=1e-8))
print(json.dumps({
    "torch": torch.__version__,
    "start": [p.tolist() for p in start],
    "gradients": [[g.tolist() for g in step] for step in gradients],
    "adamw": adamw,
    "averages": averages(adamw["after"], 0.9),
    "rates": {kind: rates(kind) for kind in ("constant", "linear", "cosine")},
    "adamwClipped": run(lambda p: torch.optim.AdamW(groups(p), lr=1e-2, betas=(0.9, 0.95), eps=1e-8), max_norm=0.5),
    "sgd": run(lambda p: torch.optim.SGD(groups(p), lr=1e-2, momentum=0.9)),
}))
