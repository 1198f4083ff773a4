"""Writes optimizers.fixture.json: parameters after each of several steps of torch.optim.AdamW, SGD and clip_grad_norm_ on given gradients.

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


groups = lambda p: [{"params": [p[0]], "weight_decay": 0.1}, {"params": [p[1]], "weight_decay": 0.0}]
print(json.dumps({
    "torch": torch.__version__,
    "start": [p.tolist() for p in start],
    "gradients": [[g.tolist() for g in step] for step in gradients],
    "adamw": run(lambda p: torch.optim.AdamW(groups(p), lr=1e-2, betas=(0.9, 0.95), eps=1e-8)),
    "adamwClipped": run(lambda p: torch.optim.AdamW(groups(p), lr=1e-2, betas=(0.9, 0.95), eps=1e-8), max_norm=0.5),
    "sgd": run(lambda p: torch.optim.SGD(groups(p), lr=1e-2, momentum=0.9)),
}))
