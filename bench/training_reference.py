"""The model of bench/training.bench.ts in PyTorch on the CPU, float32: prints its training speed. pip install torch==2.13.0"""
import json, math, statistics, sys, time, torch
import torch.nn.functional as F

o = json.loads(sys.argv[1])
torch.set_num_threads(o["threads"])
V, C, L, H, K, FF = o["vocabSize"], o["hiddenSize"], o["blocks"], o["heads"], o["kvHeads"], o["feedForward"]
B, T, D = o["sequences"], o["length"], o["hiddenSize"] // o["heads"]

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, n: torch.nn.Linear(i, n, bias=False)
        self.an, self.fn = torch.nn.RMSNorm(C, eps=1e-5), torch.nn.RMSNorm(C, eps=1e-5)
        self.q, self.k, self.v, self.o = linear(C, C), linear(C, K * D), linear(C, K * D), linear(C, C)
        self.gate, self.up, self.down = linear(C, FF), linear(C, FF), linear(FF, C)
    def forward(self, x, cos, sin):
        turn = lambda y: torch.stack([y[..., 0::2] * cos - y[..., 1::2] * sin, y[..., 0::2] * sin + y[..., 1::2] * cos], -1).flatten(-2)
        h = self.an(x)
        heads = lambda y, n: y.view(B, T, n, D).transpose(1, 2)
        q, k, v = turn(heads(self.q(h), H)), turn(heads(self.k(h), K)), heads(self.v(h), K)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(a.transpose(1, 2).reshape(B, T, C))
        h = self.fn(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm = torch.nn.Embedding(V, C), torch.nn.RMSNorm(C, eps=1e-5)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(L))
        angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
        self.cos, self.sin = angle.cos(), angle.sin()
    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks: x = block(x, self.cos, self.sin)
        return self.norm(x) @ self.embed.weight.T

torch.manual_seed(0)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
times = []
for step in range(o["steps"] + 1):
    ids = torch.randint(V, (B, T + 1))
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step > 0: times.append(time.perf_counter() - start)
print(json.dumps(dict(torch=torch.__version__, tokensPerSecond=B * T / statistics.median(times))))
