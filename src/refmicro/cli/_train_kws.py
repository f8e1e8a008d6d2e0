"""`refmicro train kws-mamba`: keyword clips to an integer streaming model, with the table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refmicro.zoo.kws import Result
    from refmicro.zoo.training import TrainConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the recipe."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="Speech Commands v2, unpacked (default: a corpus from espeak-ng and flite)",
    )
    data.add_argument("--labels", choices=("10", "12", "35"), default="10", help="set of classes")
    data.add_argument("--speakers", type=int, default=480, help="of the synthesised corpus")
    data.add_argument(
        "--features",
        choices=("mfcc", "logmel", "tflm", "tflm-pcan"),
        default="mfcc",
        help="the latter two by TFLM's signal operators, for sound in and label out",
    )
    data.add_argument("--coefficients", type=int, default=40, help="features a frame (default: 40)")
    data.add_argument("--hop-ms", type=float, default=12.5, help="between frames (default: 12.5)")
    model = parser.add_argument_group("model")
    for name, value in _DIMENSIONS.items():
        model.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, metavar="N")
    model.add_argument(
        "--discretisation",
        choices=("sigmoid", "exact", "elu", "power"),
        default="sigmoid",
        help="formulation of exp and softplus; TFLM runs sigmoid in int8 (default)",
    )
    train = parser.add_argument_group("training")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--epochs", type=int, default=20)
    train.add_argument("--qat-epochs", type=int, default=6)
    train.add_argument("--batch", type=int, default=64)
    train.add_argument("--learning-rate", type=float, default=4e-3)
    train.add_argument("--qat-learning-rate", type=float, default=6e-4)
    train.add_argument("--percentile", type=float, default=99.9, help="clip of activations")
    train.add_argument("--scan-percentile", type=float, default=99.9, help="clip of scan inputs")
    train.add_argument("--state-bits", type=int, choices=(8, 16), default=8, help="default: 8")
    train.add_argument(
        "--per-channel",
        action="store_true",
        help="a scale a row for the weights of FULLY_CONNECTED (default: a scale a matrix)",
    )
    _configure_result(parser.add_argument_group("result"))
    parser.set_defaults(run=run)


def _configure_result(result: Any) -> None:
    """Arguments of what comes out."""
    result.add_argument("--output", type=Path, metavar="DIR", help="checkpoints and models")
    result.add_argument("--report", action="store_true", help="measure every strategy")
    result.add_argument(
        "--report-folder",
        type=Path,
        default=Path("docs/results"),
        metavar="DIR",
        help="where kws-mamba.md, .json and .png go (default: docs/results)",
    )
    result.add_argument(
        "--clips", type=int, metavar="N", help="of the test split (default: all of them)"
    )
    result.add_argument(
        "--compare-discretisations",
        action="store_true",
        help="train the float model with every formulation, for the report",
    )
    result.add_argument(
        "--without-front-end",
        action="store_true",
        help="train no model on TFLM's signal operators for the report",
    )
    result.add_argument(
        "--front-end-qat-epochs",
        type=int,
        metavar="N",
        help="of that model (default: as --qat-epochs)",
    )
    result.add_argument("--json", action="store_true", help="one JSON document on stdout")


_DIMENSIONS = {
    "d_model": 64,
    "d_state": 16,
    "d_conv": 4,
    "expand": 2,
    "dt_rank": 4,
    "layers": 1,
}


def run(args: argparse.Namespace) -> int:
    """Run the recipe; returns the exit code."""
    from refmicro.cli._progress import progress_bar
    from refmicro.zoo import kws

    config = _config(args)
    with progress_bar("training") as progress:
        told = {"say": lambda text: print(text, file=sys.stderr), "progress": progress}
        result = kws.build(
            config, data=args.data, speakers=args.speakers, folder=args.output, **told
        )
        others = {}
        for kind in _others(config) if args.compare_discretisations else ():
            model = dataclasses.replace(config.model, discretisation=kind)
            told["say"](f"discretisation {kind}")
            others[kind] = kws.build(
                dataclasses.replace(config, model=model, qat_epochs=0),
                data=args.data,
                speakers=args.speakers,
                folder=result.folder / kind,
                **told,
            )
        if args.report:
            from refmicro.zoo import report

            sound = _sound(args, result, told)
            options = {"clips": args.clips, "sound": sound, "discretisations": others}
            document = report.write_report(result, args.report_folder, **options, **told)
        else:
            document = kws.summary(result)
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _print(document)
    return 0


def _sound(args: argparse.Namespace, result: Result, told: dict[str, Any]) -> Result | None:
    """The run whose features are TFLM's: this one, or another of the same settings."""
    from refmicro.zoo import kws

    config = result.config
    if config.features.is_integer or args.without_front_end:
        return result if config.features.is_integer else None
    features = dataclasses.replace(config.features, kind="tflm")
    given = args.front_end_qat_epochs
    epochs = config.qat_epochs if given is None else given
    told["say"]("the same with the features of TFLM's signal operators")
    config = dataclasses.replace(
        config,
        features=features,
        qat_epochs=epochs,
        model=dataclasses.replace(config.model, frames=features.frames),
    )
    folder = result.folder / "tflm"
    return kws.build(config, data=args.data, speakers=args.speakers, folder=folder, **told)


def _others(config: TrainConfig) -> list[str]:
    """The formulations that the run itself does not have."""
    from refmicro.zoo.mamba import DISCRETISATIONS

    return [kind for kind in DISCRETISATIONS if kind != config.model.discretisation]


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together or mean nothing."""
    from refmicro.errors import UsageError

    if args.report and args.discretisation != "sigmoid":
        raise UsageError(
            f"a report needs an integer model: discretisation {args.discretisation} has none",
            hint="leave out --discretisation, or --report",
        )
    if args.report and (args.state_bits != 8 or args.per_channel):
        raise UsageError(
            "a report compares widths and scales itself: found --state-bits or --per-channel",
            hint="leave them out, or --report",
        )
    for name in ("qat_epochs", "front_end_qat_epochs"):
        if (getattr(args, name) or 0) < 0:
            found = f"--{name.replace('_', '-')} must be at least 0: {getattr(args, name)}"
            raise UsageError(found)
    for name in ("percentile", "scan_percentile"):
        value = getattr(args, name)
        if not 50 <= value <= 100:
            raise UsageError(f"--{name.replace('_', '-')} must be between 50 and 100: {value}")
    for name in ("learning_rate", "qat_learning_rate"):
        value = getattr(args, name)
        if not 0 < value <= 1:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0 and at most 1: {value}")
    if not 0 <= args.seed < 1 << 32:
        raise UsageError(f"--seed must be between 0 and {(1 << 32) - 1}: {args.seed}")
    if args.clips is not None and args.clips < 1:
        raise UsageError(f"--clips must be at least 1: {args.clips}")


def _config(args: argparse.Namespace) -> TrainConfig:
    from refmicro.errors import UsageError
    from refmicro.zoo.features import FeatureConfig
    from refmicro.zoo.mamba import MambaConfig
    from refmicro.zoo.quantise import CalibrationConfig
    from refmicro.zoo.speech_commands import LABELS, SAMPLE_RATE
    from refmicro.zoo.training import TrainConfig

    _check(args)
    for name in (*_DIMENSIONS, "coefficients", "batch", "epochs", "speakers"):
        if getattr(args, name) < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 1: {getattr(args, name)}"
            )
    if not 5 <= args.hop_ms <= 1000:
        raise UsageError(f"--hop-ms must be between 5 and 1000: {args.hop_ms}")
    hop = round(args.hop_ms * SAMPLE_RATE / 1000)
    features = FeatureConfig(args.features, args.coefficients, 2 * hop, hop)
    model = MambaConfig(
        features=args.coefficients,
        frames=features.frames,
        classes=len(LABELS[args.labels]),
        discretisation=args.discretisation,
        **{name: getattr(args, name) for name in _DIMENSIONS},
    )
    return TrainConfig(
        model=model,
        features=features,
        calibration=CalibrationConfig(
            args.percentile,
            args.scan_percentile,
            state_bits=args.state_bits,
            per_channel=args.per_channel,
        ),
        labels=args.labels,
        seed=args.seed,
        epochs=args.epochs,
        qat_epochs=args.qat_epochs,
        batch=args.batch,
        learning_rate=args.learning_rate,
        qat_learning_rate=args.qat_learning_rate,
    )


def _print(document: dict[str, Any]) -> None:
    for name, value in document["models"].items():
        print(f"{name}\t{value}")
    for name, accuracy in document["accuracy"].items():
        low, high = 100 * accuracy["low"], 100 * accuracy["high"]
        print(f"accuracy {name}\t{100 * accuracy['share']:.2f} % ({low:.2f} to {high:.2f})")
