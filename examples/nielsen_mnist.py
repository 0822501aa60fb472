"""Digit recognisers on the full MNIST: two networks of Michael Nielsen's book and a wider one, several seeds each.

    python examples/nielsen_mnist.py [--only a b c] [--seeds 5] [--epochs N] [--torch] [--output FOLDER]

Writes results.json, table.md and test_error.png. 60,000 images train and 10,000 test; what counts is the accuracy after
the last epoch. Results that are there already and are not run again are kept, so the parts can be run one by one.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn

INPUTS, CLASSES = 784, 10
Result = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Everything that decides how a network is trained."""

    hidden: tuple[int, ...]
    activation: str
    loss: str
    optimizer: str
    rate: float
    epochs: int
    batch: int
    goal: float  # accuracy
    book: str
    initial_weights: str = "nielsen"
    initial_biases: str = "normal"
    l2: float = 0.0
    dropout: tuple[float, ...] = ()  # before each layer
    cosine: bool = False  # whether the rate falls to 0 along half a cosine; otherwise it stays

    @property
    def network(self) -> str:
        """For example 784-30-10."""
        return "-".join(map(str, (INPUTS, *self.hidden, CLASSES)))

    @property
    def layers(self) -> list[tuple[float, int, str | None]]:
        """(dropout before it, units, activation) of each layer. Cross-entropies take logits: no activation then."""
        units = (*self.hidden, CLASSES)
        last = self.activation if self.loss == "quadratic" else None
        return list(zip(self.dropout or (0.0,) * len(units), units, [self.activation] * len(self.hidden) + [last],
                        strict=True))  # fmt: skip


# The book sums cross-entropy over the ten outputs, with eta 0.1 and lambda 5; binary_cross_entropy is their mean. The
# same steps come from ten times the rate and a tenth of the penalty lambda / n.
SETTINGS = {
    "a": Setting((30,), "sigmoid", "quadratic", "sgd", rate=3.0, epochs=30, batch=10, goal=0.95, book="95.42 %"),
    "b": Setting((100,), "sigmoid", "binary_cross_entropy", "sgd", rate=1.0, epochs=60, batch=10, goal=0.978,
                 book="97.92-98.04 %", l2=5.0 / 60_000 / 10),
    "c": Setting((512, 512), "relu", "cross_entropy", "adam", rate=1e-3, epochs=25, batch=128, goal=0.984, book="",
                 initial_weights="he", initial_biases="zeros", dropout=(0.2, 0.5, 0.5), cosine=True),
}  # fmt: skip


class Stopwatch:
    """Wall time and processor time since its making, less what ran while it was paused."""

    def __init__(self) -> None:
        self.began = self._now()

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count what happens inside."""
        paused = self._now()
        yield
        self.began += self._now() - paused

    def read(self) -> Result:
        """Seconds so far."""
        wall, processor = self._now() - self.began
        return {"wall_seconds": round(float(wall), 2), "processor_seconds": round(float(processor), 2)}


def train_fastnn(setting: Setting, data: Any, seed: int) -> Result:
    """Trains one network; returns its test errors by epoch and the time it took without measuring them."""
    watch, errors = Stopwatch(), []
    layers: list[fnn.Layer] = []
    for rate, units, activation in setting.layers:
        layers += [fnn.Dropout(rate)] if rate else []
        layers.append(fnn.Dense(units, activation, weight_initializer=setting.initial_weights,
                                bias_initializer=setting.initial_biases))  # fmt: skip
    network = fnn.Sequential(layers, input_shape=INPUTS, seed=seed)
    steps = setting.epochs * -(-len(data.x_train) // setting.batch)
    rate = fnn.schedules.Cosine(setting.rate, steps) if setting.cosine else setting.rate
    optimizer = {"sgd": fnn.SGD, "adam": fnn.Adam}[setting.optimizer](rate, l2=setting.l2)
    targets = data.y_train if setting.loss == "cross_entropy" else fnn.one_hot(data.y_train, CLASSES)

    def measure(*_: Any) -> None:
        with watch.paused():
            largest = np.argmax(network.predict(data.x_test), axis=1)
            errors.append(float(np.mean(largest != data.y_test)))

    network.fit(data.x_train, targets, loss=setting.loss, optimizer=optimizer, epochs=setting.epochs,
                batch_size=setting.batch, metrics=[], verbose=0,
                callbacks=[fnn.callbacks.LambdaCallback(on_epoch_end=measure)])  # fmt: skip
    return {"seed": seed, "test_errors": errors, **watch.read()}


def torch_model(setting: Setting) -> Any:
    """The network in PyTorch."""
    from torch import nn

    modules: list[Any] = []
    size = INPUTS
    for rate, units, activation in setting.layers:
        linear = nn.Linear(size, units)
        nn.init.normal_(linear.weight, std=((2.0 if setting.initial_weights == "he" else 1.0) / size) ** 0.5)
        nn.init.normal_(linear.bias, std=1.0 if setting.initial_biases == "normal" else 0.0)
        modules += [nn.Dropout(rate)] if rate else []
        modules += [linear, *({"sigmoid": [nn.Sigmoid()], "relu": [nn.ReLU()]}.get(activation or "", []))]
        size = units
    return nn.Sequential(*modules)


def torch_optimizer(setting: Setting, model: Any, steps: int) -> tuple[Any, Any]:
    """Its optimizer, which leaves biases without a penalty, and the schedule of so many steps, if there is one."""
    import torch

    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    biases = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": setting.l2}, {"params": biases}]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[setting.optimizer]
    optimizer = kind(groups, lr=setting.rate, fused=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if setting.cosine else None


def train_torch(setting: Setting, data: Any, seed: int) -> Result:
    """The same with PyTorch, as its own users write it: tensors in memory, rows picked by a permutation."""
    import torch
    from torch import nn

    torch.set_num_threads(fnn.get_num_threads())
    torch.manual_seed(seed)
    x, x_test, y_test = map(torch.from_numpy, (data.x_train, data.x_test, data.y_test))
    watch, errors = Stopwatch(), []
    model = torch_model(setting)
    optimizer, schedule = torch_optimizer(setting, model, setting.epochs * -(-len(x) // setting.batch))
    loss: Callable[..., Any] = {
        "quadratic": lambda output, target: 0.5 * (output - target).square().sum(1).mean(),
        "binary_cross_entropy": nn.functional.binary_cross_entropy_with_logits,
        "cross_entropy": nn.functional.cross_entropy,
    }[setting.loss]
    labels = data.y_train if setting.loss == "cross_entropy" else fnn.one_hot(data.y_train, CLASSES)
    y = torch.from_numpy(labels)
    for _ in range(setting.epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), setting.batch):
            rows = order[start : start + setting.batch]
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            if schedule:
                schedule.step()
        with watch.paused(), torch.no_grad():
            model.eval()
            errors.append(float((model(x_test).argmax(1) != y_test).double().mean()))
            model.train()
    return {"seed": seed, "version": torch.__version__, "test_errors": errors, **watch.read()}


def accuracies(runs: list[Result]) -> np.ndarray:
    """The accuracy after the last epoch of each run."""
    return np.array([1.0 - run["test_errors"][-1] for run in runs])


def percent(fraction: float, digits: int = 2) -> str:
    """For example 95.86 %."""
    return f"{100 * fraction:.{digits}f} %"


def count(runs: list[Result]) -> str:
    """For example 5 seeds."""
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"


def seconds(runs: list[Result]) -> str:
    """Mean times of some runs, in words."""
    wall, processor = (np.mean([run[f"{clock}_seconds"] for run in runs]) for clock in ("wall", "processor"))
    return f"{wall:.1f} s ({processor:.1f} s)"


def table(results: Result) -> str:
    """All settings and results in Markdown, a column a network."""
    columns = [_column(Setting(**entry["setting"]), entry) for entry in results["settings"].values()]
    rows = [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    rows.insert(1, "| --- |" + " --- |" * len(columns))
    return (
        "# MNIST: 60,000 images to train, 10,000 to test\n\n" + "\n".join(rows) + "\n\n"
        "Accuracy is that on the test images after the last epoch. Times are means a seed, from the arrays to the\n"
        "trained network without the evaluations in between: wall time, and in brackets processor time, which tells\n"
        "more where other programs share the machine. The ratio is one of processor times.\n\n"
        "![test error against the epoch, a line a seed](test_error.png)\n\n"
        f"{results['machine']}. Made by `python examples/nielsen_mnist.py`.\n"
    )


def _column(setting: Setting, entry: Result) -> dict[str, str]:
    ours, peers = entry.get("fastnn", []), entry.get("torch", [])
    mine, theirs = accuracies(ours), accuracies(peers)
    ratio = "-"
    if ours and peers:
        ratio = f"{peers[0]['processor_seconds'] / np.mean([run['processor_seconds'] for run in ours]):.1f}x"
    return {
        "network": setting.network,
        "activation": setting.activation,
        "initial weights, biases": f"{setting.initial_weights}, {setting.initial_biases}",
        "loss": setting.loss,
        "optimizer": setting.optimizer,
        "learning rate": f"{setting.rate:g}" + (", cosine to 0" if setting.cosine else ""),
        "L2 on weights": f"{setting.l2:.3g}" if setting.l2 else "-",
        "dropout before each layer": ", ".join(map(str, setting.dropout)) or "-",
        "batch": str(setting.batch),
        "epochs": str(setting.epochs),
        "**accuracy, mean**": f"**{percent(mine.mean())}**" if ours else "-",
        "goal": percent(setting.goal, 1),
        "Nielsen's book": setting.book or "-",
        "worst and best seed": f"{percent(mine.min())}, {percent(mine.max())} ({count(ours)})" if ours else "-",
        "time": seconds(ours) if ours else "-",
        "PyTorch: accuracy": f"{percent(theirs.mean())} ({count(peers)}, version {peers[0]['version']})"
        if peers
        else "-",
        "PyTorch: time": seconds(peers) if peers else "-",
        "PyTorch's time / ours": ratio,
    }


def plot(results: Result, path: Path) -> None:
    """Test error against the epoch, a line a seed, a panel a network."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, NullFormatter
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    shown = {key: entry for key, entry in results["settings"].items() if entry.get("fastnn")}
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
    figure = Figure(figsize=(4.2 * len(shown) + 0.6, 4.4), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(shown), sharey=True))
    for axes, entry in zip(panels, shown.values(), strict=True):
        setting = Setting(**entry["setting"])
        for run in entry["fastnn"]:
            errors = 100 * np.array(run["test_errors"])
            axes.plot(np.arange(1, len(errors) + 1), errors, color=colours[run["seed"] % len(colours)], linewidth=1.1,
                      label=f"seed {run['seed']}")  # fmt: skip
        goal = 1 - setting.goal
        axes.axhline(100 * goal, color="#444444", linestyle="--", linewidth=1)
        axes.annotate(f"goal {percent(goal, 1)}", (1, 100 * goal), xycoords=("axes fraction", "data"), xytext=(-4, 4),
                      textcoords="offset points", ha="right", color="#444444", fontsize=9)  # fmt: skip
        mean = percent(accuracies(entry["fastnn"]).mean())
        axes.set_title(f"{setting.network}, {setting.loss.replace('_', ' ')}\nmean accuracy at the end {mean}",
                       fontsize=10, loc="left")  # fmt: skip
        axes.set_xlabel("epoch")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    lines = max((axes.get_lines()[:-1] for axes in panels), key=len)  # the last one is the goal
    figure.legend(handles=lines, loc="outside right upper", frameon=False, fontsize=9)
    panels[0].set_ylabel("error on the 10,000 test images (log scale)")
    panels[0].set_yscale("log")
    low, high = panels[0].get_ylim()
    ticks = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
    panels[0].set_yticks([tick for tick in ticks if low <= tick <= high])
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    figure.savefig(path, dpi=130)


def machine() -> str:
    """What the times depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    threads = fnn.get_num_threads()
    return f"{cpu}, {threads} thread{'s' * (threads > 1)}, fastnn {fnn.__version__}, NumPy {np.__version__}"


def keep(folder: Path, key: str, setting: Setting, library: str, runs: list[Result]) -> None:
    """Puts runs into results.json, in place of what was there for this network and library."""
    path = folder / "results.json"
    results: Result = json.loads(path.read_text()) if path.exists() else {"settings": {}}
    entry = results["settings"].get(key, {})
    described = json.loads(json.dumps(asdict(setting)))
    if entry.get("setting") != described:
        entry = {"setting": described}
    entry[library] = runs
    settings = {**results["settings"], key: entry}
    results = {"machine": machine(), "settings": {name: settings[name] for name in SETTINGS if name in settings}}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="which networks")
    parser.add_argument("--seeds", type=int, default=5, help="how many; 0 draws what is there, or runs PyTorch alone")
    parser.add_argument("--epochs", type=int, help="instead of each network's own number")
    parser.add_argument("--torch", action="store_true", help="train with PyTorch too, one seed")
    parser.add_argument("--output", type=Path, default=Path("reports/nielsen-mnist"))
    arguments = parser.parse_args()
    data = fnn.datasets.mnist() if arguments.seeds or arguments.torch else None
    work = [("fastnn", train_fastnn, seed) for seed in range(arguments.seeds)]
    work += [("torch", train_torch, 0)] if arguments.torch else []
    results: Result = {}
    for key in arguments.only:
        setting = replace(SETTINGS[key], epochs=arguments.epochs or SETTINGS[key].epochs)
        runs: dict[str, list[Result]] = {}
        for library, train, seed in work:
            run = train(setting, data, seed)
            runs.setdefault(library, []).append(run)
            keep(arguments.output, key, setting, library, runs[library])
            print(f"{setting.network}, {library}, seed {seed}: {percent(1 - run['test_errors'][-1])} "
                  f"in {run['wall_seconds']:.1f} s", flush=True)  # fmt: skip
    results = json.loads((arguments.output / "results.json").read_text())
    (arguments.output / "table.md").write_text(table(results))
    print("\n" + table(results))
    plot(results, arguments.output / "test_error.png")


if __name__ == "__main__":
    main()
