"""The networks of networks.py in PyTorch, with random weights: every ReLU is a module of its own, as hooks want it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def relu_conv(i: int, o: int, k: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(i, o, k, stride, k // 2), nn.ReLU()]


def vgg16() -> nn.Module:
    layers, c = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += relu_conv(c, width, 3)
            c = width
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, nn.Flatten(), *dense)


class Residual(nn.Module):
    """The sum of two branches, and what follows it."""

    def __init__(self, branch: nn.Module, short: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.branch, self.short, self.after = branch, short, after

    def forward(self, x):
        return self.after(self.branch(x) + self.short(x))


def head(c: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000)]


def resnet50() -> nn.Module:
    layers, c = [*relu_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for k in range(depth):
            stride = 2 if stage and not k else 1
            branch = nn.Sequential(*relu_conv(c, width, 1), *relu_conv(width, width, 3, stride), nn.Conv2d(width, 4 * width, 1))
            layers.append(Residual(branch, nn.Identity() if k else nn.Conv2d(c, 4 * width, 1, stride), nn.ReLU()))
            c = 4 * width
    return nn.Sequential(*layers, *head(c))


def mobilenet_v2() -> nn.Module:
    layers, c = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()], 32
    for expand, width, depth, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for k in range(depth):
            inner = c * expand
            block = [nn.Conv2d(c, inner, 1), nn.ReLU6()] if expand > 1 else []
            block += [nn.Conv2d(inner, inner, 3, 1 if k else stride, 1, groups=inner), nn.ReLU6(), nn.Conv2d(inner, width, 1)]
            layers.append(Residual(nn.Sequential(*block), nn.Identity(), nn.Identity()) if k else nn.Sequential(*block))
            c = width
    return nn.Sequential(*layers, nn.Conv2d(c, 1280, 1), nn.ReLU6(), *head(1280))


class Grown(nn.Module):
    """The input with what a branch makes of it behind."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return torch.cat([x, self.branch(x)], 1)


def densenet121() -> nn.Module:
    before = lambda c: [nn.BatchNorm2d(c), nn.ReLU()]
    layers, c = [nn.Conv2d(3, 64, 7, 2, 3), *before(64), nn.MaxPool2d(3, 2, 1)], 64
    for stage, depth in enumerate((6, 12, 24, 16)):
        if stage:
            layers += [*before(c), nn.Conv2d(c, c // 2, 1), nn.AvgPool2d(2)]
            c //= 2
        for _ in range(depth):
            layers.append(Grown(nn.Sequential(*before(c), nn.Conv2d(c, 128, 1), *before(128), nn.Conv2d(128, 32, 3, 1, 1))))
            c += 32
    return nn.Sequential(*layers, *before(c), *head(c))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width))


class Patches(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.places = nn.Conv2d(3, width, 16, 16), nn.Parameter(0.02 * torch.randn(196, width))

    def forward(self, x):
        return self.conv(x).flatten(2).transpose(1, 2) + self.places


class MeanToken(nn.Module):
    def forward(self, x):
        return x.mean(1)


def vit(width: int, heads: int, depth: int = 12) -> nn.Module:
    layers: list[nn.Module] = [Patches(width)]
    for _ in range(depth):
        layers.append(Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, heads)), nn.Identity(), nn.Identity()))
        mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        layers.append(Residual(mlp, nn.Identity(), nn.Identity()))
    return nn.Sequential(*layers, nn.LayerNorm(width), MeanToken(), nn.Linear(width, 1000))


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.dense = nn.LSTM(64, 256, batch_first=True), nn.Linear(256, 10)

    def forward(self, x):
        return self.dense(self.lstm(x)[1][0][0])


NETWORKS = {
    "vgg16": vgg16,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "densenet121": densenet121,
    "vit_b16": lambda: vit(768, 12),
    "vit_s16": lambda: vit(384, 6),
    "lstm": LastState,
}


def network(name: str) -> nn.Module:
    """In evaluation mode; convolutions and dense layers of He's scale, as in networks.py."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(m.weight, std=(2 / m.weight[0].numel()) ** 0.5)
    return model
