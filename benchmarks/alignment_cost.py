"""What the penalty of each alignment method costs: time against the joint batch's Gram matrix, memory, and accuracy.

    python benchmarks/alignment_cost.py

Where pytorch-adapt is installed, its MMD is measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from common import machine, write_result
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tlhub import manifest as manifests
from tlhub.adapter import Adapter
from tlhub.run import Run, open_data
from tlhub.step import Step, View
from tlhub.testing import toy_catalog, toy_manifest
from tlhub_alignment.adversary import discriminator
from tlhub_alignment.coral import coral
from tlhub_alignment.gaussian import gaussian_kernels, joint_mmd2, multi_gaussian_mmd2

ROWS, WIDTH, CLASSES = 128, 1024, 31
GRAM = "Gram matrix alone"
PEER = "pytorch-adapt 0.0.83, MMD"
SMALL = {"hidden": 64, "depth": 1}
METHODS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "mmd": ("mmd", {}),
    "jan": ("jan", {}),
    "coral": ("coral", {"layers": ["features"]}),
    "bsp": ("bsp", {}),
    "afn": ("afn", {}),
    "mcc": ("mcc", {}),
    "mcd": ("mcd", {}),
    "wasserstein": ("wasserstein", {}),
    "wasserstein, critic_steps 1": ("wasserstein", {"critic_steps": 1}),
    "dann": ("dann", {}),
    "dann, hidden 64, depth 1": ("dann", SMALL),
    "cdan": ("cdan", {"entropy": True}),
    "cdan, hidden 64, depth 1": ("cdan", {"entropy": True, **SMALL}),
}
NETWORKS = {
    "wasserstein": (WIDTH, 100, 1),
    "wasserstein, critic_steps 1": (WIDTH, 100, 1),
    "dann": (WIDTH, 1024, 2),
    "dann, hidden 64, depth 1": (WIDTH, 64, 1),
    "cdan": (1024, 1024, 2),
    "cdan, hidden 64, depth 1": (1024, 64, 1),
}
"""Width, hidden width and hidden layers of the network that a method trains."""

Call = Callable[[], Any]


def compose(device: torch.device) -> Run:
    """A run whose head reads 1024 features and knows 31 classes."""
    catalog = toy_catalog()
    content = {**toy_manifest([{"use": "mmd"}]), "backbone": {"use": "toy_net", "width": WIDTH}}
    loaded = manifests.from_dict(content, catalog=catalog)
    run = Run(loaded, catalog, open_data(loaded, catalog), device)
    run.model.head = run.task.head(WIDTH, [str(number) for number in range(CLASSES)]).to(device)
    return run


def samples(device: torch.device, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(ROWS, WIDTH, generator=generator) for _ in range(2))
    return tuple((x + offset).to(device).requires_grad_() for x in (source, 1.2 * target + 0.1))  # type: ignore[return-value]


def of_adapter(run: Run, use: str, settings: Mapping[str, Any]) -> Call:
    """One penalty and its gradient in features, logits, and whatever learns."""
    adapter: Adapter = run.catalog.create("adapters", use, settings)
    adapter.prepare(run)
    adapter.to(run.device)
    views, inputs = [], []
    for domain, features in zip(run.domains, samples(run.device), strict=True):
        logits = torch.randn(ROWS, CLASSES, device=run.device, requires_grad=True)
        labels = torch.randint(CLASSES, (ROWS,), device=run.device) if domain.role == "source" else None
        indices = torch.arange(ROWS, device=run.device)
        views.append(View(domain.role, (domain,), indices, None, labels, features, logits, {}.__getitem__))
        inputs += [features, logits]
    step = Step(views, 0.5, 0, run.model)
    helpers = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    learning = [*inputs, *helpers, *run.model.head.parameters()]

    def call() -> None:
        penalty = adapter.penalty(step)
        assert penalty is not None
        torch.autograd.grad(penalty, learning, allow_unused=True)

    return call


def of_gram(device: torch.device) -> Call:
    rows, weight = samples(device), torch.randn(2 * ROWS, 2 * ROWS, device=device)

    def call() -> None:
        joint = torch.cat(rows)
        torch.autograd.grad(joint @ joint.T, rows, weight)

    return call


def of_network(device: torch.device, width: int, hidden: int, depth: int) -> Call:
    network: nn.Module = discriminator(width, hidden, depth, 0.0, False).to(device)
    rows = torch.randn(2 * ROWS, width, device=device, requires_grad=True)

    def call() -> None:
        torch.autograd.grad(network(rows).sum(), [rows, *network.parameters()])

    return call


def peer() -> nn.Module:
    """pytorch-adapt's MMD of all pairs, with the five kernels of its own example."""
    from pytorch_adapt.layers import MMDLoss
    from pytorch_adapt.layers.utils import get_kernel_scales

    loss: nn.Module = MMDLoss(kernel_scales=get_kernel_scales(low=-3, high=1, num_kernels=5), mmd_type="quadratic")
    return loss


def of_loss(device: torch.device, loss: Callable[[Tensor, Tensor], Tensor]) -> Call:
    rows = samples(device)
    return lambda: torch.autograd.grad(loss(*rows), rows)


def seconds(call: Call, device: torch.device) -> float:
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


class Allocated(TorchDispatchMode):
    """Counts the bytes that tensors made under it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.known |= {storage._cdata for storage in _storages((args, kwargs))}
        out = func(*args, **kwargs)
        for storage in _storages(out):
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known:
                self.known.add(key)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._freed, key, size)
        return out

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_memory(call: Call) -> float:
    """MB that a call allocates at once, its result included."""
    with Allocated() as allocated:
        call()
    return allocated.most / 1e6


def gradient_error(loss: Callable[[Tensor, Tensor], Tensor], offset: float) -> float:
    """Of float32 against float64, relative, for the same features around `offset`."""
    single = samples(torch.device("cpu"), offset)
    double = tuple(x.detach().double().requires_grad_() for x in single)
    found, expected = (torch.cat(torch.autograd.grad(loss(*rows), rows)) for rows in (single, double))
    return float((found - expected).norm() / expected.norm())


def jan_of_one_layer(x: Tensor, y: Tensor) -> Tensor:
    return joint_mmd2([gaussian_kernels(x, y), gaussian_kernels(x[:, :8], y[:, :8], 1, 3.0)], len(x), True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    device, run = torch.device(asked.device), compose(torch.device(asked.device))

    calls: dict[str, Call] = {GRAM: of_gram(device)}
    calls |= {name: of_adapter(run, use, settings) for name, (use, settings) in METHODS.items()}
    calls |= {f"network of {name}": of_network(device, *shape) for name, shape in NETWORKS.items()}
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mmd": lambda x, y: multi_gaussian_mmd2(x, y, unbiased=True),
        "jan": jan_of_one_layer,
        "coral": coral,
    }
    if importlib.util.find_spec("pytorch_adapt"):
        losses[PEER] = peer()
        calls[PEER] = of_loss(device, losses[PEER])

    for call in calls.values():
        for _ in range(5):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(asked.repeats):  # side by side, so that whatever else the machine does is the same for all
        for name, call in calls.items():
            times[name].append(seconds(call, device))
    megabytes = {name: peak_memory(call) for name, call in calls.items()}
    errors = {name: gradient_error(loss, 100.0) for name, loss in losses.items()}

    def ratio(name: str, other: str) -> str:
        ratios = [mine / base for mine, base in zip(times[name], times[other], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    def row(name: str) -> str:
        network = f"network of {name}"
        cells = [
            name,
            f"{1000 * statistics.median(times[name]):.2f}",
            ratio(name, GRAM),
            ratio(name, network) if network in times else "",
            f"{megabytes[name]:.1f}",
            f"{errors[name]:.1e}" if name in errors else "",
        ]
        return "| " + " | ".join(cells) + " |"

    header = "| | ms | × Gram matrix | × its network alone | peak MB | gradient error |\n" + "|---" * 6 + "|"
    rows = "\n".join(row(name) for name in [GRAM, *METHODS, *([PEER] if PEER in times else [])])
    alone = [name for name in METHODS if name not in NETWORKS]
    most = max(statistics.median(a / b for a, b in zip(times[name], times[GRAM], strict=True)) for name in alone)
    against = f"`mmd` is {ratio(PEER, 'mmd')} times as fast as pytorch-adapt's." if PEER in times else ""
    text = f"""# What alignment costs

Written by `benchmarks/alignment_cost.py` on {machine(device.type, asked.threads)}.

One penalty, forward and backward, of {ROWS} + {ROWS} rows, {WIDTH} features and {CLASSES} classes in float32, beside the product of the
joint batch with itself (its Gram matrix), forward and backward. All are timed in turn, {asked.repeats} times: medians, and in brackets the
quartiles of the ratios. {against}

{header}
{rows}

Methods without a network of their own take at most {most:.2f} times the Gram matrix. "Its network alone" is a forward and backward
pass, for weights and inputs, of the discriminator or critic that a method trains, over as many rows. Those of `dann` and `cdan` have by
default the size of their papers, two hidden layers of 1024: that alone is many times the work of a Gram matrix, whatever surrounds
it. `cdan` reads features through a random map of 1024 x 1024, one Gram matrix's work more. `wasserstein` trains its critic for five
steps in one, each with a gradient penalty.

"Peak MB" is what is allocated at once, the gradients of the features (1 MB) and of networks included. A difference for every
pair of rows, `[256, 256, 1024]`, would take 268 MB. "Gradient error" is that of float32 against float64 where features are
offset by 100.
"""
    if asked.print:
        print(text)
    else:
        write_result("alignment_cost", text)


if __name__ == "__main__":
    main()
