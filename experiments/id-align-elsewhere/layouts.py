#!/usr/bin/env python3
"""What ID-Align changes in the layouts of five families of models: counts, distances, and expected attention.

    layouts.py --ropescope FILE --samples NAME=FILE ... --sizes 640x427,... --output DIR [--table FILE]

Geometry comes from `ropescope preprocess`, ids from `ropescope positions`, expected attention from `ropescope prior`; this script
turns plans into layouts, picks the tokens of one place, and takes means over picture sizes with their 95 % intervals. Standard
library only. Results are kept (DIR/measured-1.json) by command line, so that a run goes on where it was stopped.
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys

FORM = 1  # of what is kept; another number when a measurement changes
TEXT_BEFORE, TEXT_AFTER = 35, 20
SCHEMES = {
    "plain": "vanilla",
    "counted": "id-align:newline=counted",
    "inherit": "id-align:newline=inherit",
    "in place": "id-align:newline=in_place",
}
FAMILIES = {
    "llava-next": "llava-next-clip",
    "llava-onevision": "llava-onevision",
    "internvl": "internvl",
    "idefics3": "idefics3",
    "smolvlm": "smolvlm",
    "gemma3": "gemma3",
}
THUMBNAIL_LAST = {"internvl", "idefics3", "smolvlm"}

# Student's t at 0.975 by degrees of freedom.
T975 = [None, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
        2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]


class Picture:
    """A picture's layout: grids, and which token of the sequence shows what."""

    def __init__(self, family, plan):
        self.family, self.size = family, plan["size_wh"]
        self.tiles = 1
        self.tile = None  # rows and columns of a tile that stands by itself
        if family == "llava-next":
            self.thumbnail, self.high, self.words = [24, 24], plan["feat_H1W1"], ""
        elif family == "llava-onevision":
            self.thumbnail, self.high, self.words = [27, 27], plan["H1W1"], ""
        elif family == "internvl":
            columns, rows = plan["tiles_cols_rows"]
            self._tiled(16, rows, columns, ":tiles-first")
        elif family in ("idefics3", "smolvlm"):
            rows, columns = plan["rows_cols"]
            self._tiled(13 if family == "idefics3" else 8, rows, columns, ":tiles-first:before=2:row=1:gap=2:end=1")
        else:
            crops, (width, height) = len(plan.get("crops_hw") or []), plan["size_wh"]
            rows, columns = (1, crops) if width > height else (crops, 1)
            self._tiled(16, rows, columns, ":thumbnail-first:before=2:between=1:after=2:gap=13")
        self.pair = self.tiles > 1 or self.tile is None
        if family == "gemma3":
            self.pair = bool(plan.get("crops_hw"))

    def _tiled(self, side, rows, columns, words):
        self.thumbnail, self.tile = [side, side], [side, side]
        self.tiles, self.high, self.words = rows * columns, [rows * side, columns * side], words

    def layout(self):
        grids = "{}x{}+{}x{}".format(*self.thumbnail, *self.high)
        return f"text:{TEXT_BEFORE},anyres:{grids}{self.words},text:{TEXT_AFTER}"

    def cells(self):
        """(row, column) of the high-resolution tokens in the order of the sequence."""
        rows, columns = self.high
        if self.tile is None:
            return [(r, c) for r in range(rows) for c in range(columns)]
        th, tw = self.tile
        return [(tr + r, tc + c) for tr in range(0, rows, th) for tc in range(0, columns, tw) for r in range(th) for c in range(tw)]

    def partner(self, row, column):
        (h0, w0), (h1, w1) = self.thumbnail, self.high
        return row * h0 // h1 * w0 + column * w0 // w1


def run_json(ropescope, *arguments):
    done = subprocess.run([ropescope, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def geometry(picture, ropescope):
    """Numbers of each way of giving ids, of one layout."""
    lines = run_json(ropescope, "positions", "--quiet", "--json", "--layout", picture.layout(), "--misalignment", "--criteria",
                     "--scheme", ";".join(SCHEMES.values()))
    names = {text: name for name, text in SCHEMES.items()}
    measured = {}
    for line in lines:
        ids, modality = line["coordinates"][0], line["modality"]
        thumbnail = [i for i, kind in enumerate(modality) if kind == 1]
        high = [i for i, kind in enumerate(modality) if kind == 2]
        cells = picture.cells()
        assert len(high) == len(cells) and len(thumbnail) == picture.thumbnail[0] * picture.thumbnail[1], picture.layout()
        own = [ids[token] == ids[thumbnail[picture.partner(*cell)]] for token, cell in zip(high, cells)]
        measured[names[line["scheme"]]] = {
            "tokens": line["budget"]["tokens"] - TEXT_BEFORE - TEXT_AFTER,
            "ids": line["next"] - TEXT_BEFORE - TEXT_AFTER,
            "distance": line["distances"]["thumbnail_high"][0]["mean"],
            "to_text": line["distances"]["high_text"][0]["mean"],
            "on_own_id": sum(own) / len(own),
            "ahead_of_text": line["criteria"]["visual_tokens_at_or_after_following_text"] / line["budget"]["visual_tokens"],
        }
        measured["tokens_at"] = {"thumbnail": thumbnail, "high": high}
    return measured


def places(picture, tokens_at):
    """(query, own keys, all keys of the other grid) of four places, at the quarters of the picture."""
    thumbnail, high, cells = tokens_at["thumbnail"], tokens_at["high"], picture.cells()
    at = dict(zip(cells, high))
    (h0, w0), (h1, w1) = picture.thumbnail, picture.high
    for y in (1, 3):
        for x in (1, 3):
            if picture.family in THUMBNAIL_LAST:
                cell = h0 * y // 4 * w0 + w0 * x // 4
                own = [token for token, place in zip(high, cells) if picture.partner(*place) == cell]
                yield thumbnail[cell], own, high
            else:
                place = (h1 * y // 4, w1 * x // 4)
                yield at[place], [thumbnail[picture.partner(*place)]], thumbnail


def prior(picture, tokens_at, ropescope, samples, scratch):
    """Expected attention of a later grid's token on its own place in the earlier grid; means over four places."""
    sums = {name: {"own": 0.0, "share": 0.0, "enrichment": 0.0, "other": 0.0} for name in SCHEMES}
    count = 0
    for query, own, other in places(picture, tokens_at):
        run_json(ropescope, "prior", "--quiet", "--json", "--samples", samples, "--layout", picture.layout(), "--query", str(query),
                 "--text-lengths", "0", "--schemes", ";".join(SCHEMES.values()), "--force", "--output", str(scratch))
        count += 1
        for name, scheme in SCHEMES.items():
            done = subprocess.run([ropescope, "dump", "--quiet", str(scratch), f"/prior/{scheme}/attention"], check=True,
                                  stdout=subprocess.PIPE, text=True)
            attention = read_column(done.stdout)
            assert abs(sum(attention) - 1) < 1e-6, (scheme, sum(attention))
            on_own, on_other = sum(attention[i] for i in own), sum(attention[i] for i in other)
            sums[name]["own"] += on_own
            sums[name]["other"] += on_other
            sums[name]["share"] += on_own / on_other
            sums[name]["enrichment"] += on_own / on_other * len(other) / len(own)
    return {name: {key: value / count for key, value in numbers.items()} for name, numbers in sums.items()}


def read_column(csv):
    """The last number of each line; a heading is passed over."""
    values = []
    for line in csv.splitlines():
        try:
            values.append(float(line.split(",")[-1]))
        except ValueError:
            assert not values, line
    return values


def interval(values):
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, T975[min(len(values) - 1, len(T975) - 1)] * math.sqrt(variance / len(values))


def text_of(values, unit=1.0, digits=0):
    mean, reach = interval([unit * v for v in values])
    if reach is None or reach < 0.5 * 10 ** -digits:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {reach:.{digits}f}"


class Kept:
    """Results by what they depend on."""

    def __init__(self, file):
        self.file = pathlib.Path(file)
        self.results = json.loads(self.file.read_text()) if self.file.exists() else {}

    def get(self, key, compute):
        if key not in self.results:
            self.results[key] = compute()
            unfinished = self.file.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(self.results))
            unfinished.rename(self.file)
        return self.results[key]


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]


def markdown(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ropescope", required=True)
    parser.add_argument("--samples", action="append", default=[], metavar="NAME=FILE", help="result of `sample --moments`")
    parser.add_argument("--sizes", required=True)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--output", required=True)
    parser.add_argument("--no-ids", action="store_true", help="leave out the table of ids")
    flags = parser.parse_args()
    output = pathlib.Path(flags.output)
    kept = Kept(output / f"measured-{FORM}.json")
    program = digest(flags.ropescope)

    pictures = {}
    for family in flags.families.split(","):
        plans = run_json(flags.ropescope, "preprocess", "--quiet", "--json", "--preset", FAMILIES[family], "--sizes", flags.sizes)
        for plan in plans:
            if "error" in plan:
                sys.exit(f"layouts.py: --sizes: {plan['error']}")
        pictures[family] = [Picture(family, plan) for plan in plans]
        if not any(picture.pair for picture in pictures[family]):
            print(f"== {family}: none of these sizes is shown twice; left out", file=sys.stderr)
            del pictures[family]

    def ids_of(picture):
        return kept.get(f"{program} ids {picture.layout()}", lambda: geometry(picture, flags.ropescope))

    rows = []
    for family, all_of_family in pictures.items() if not flags.no_ids else ():
        pairs = [p for p in all_of_family if p.pair]
        for name in SCHEMES:
            numbers = [ids_of(p)[name] for p in pairs]
            column = lambda key: [n[key] for n in numbers]  # noqa: E731
            rows.append([family if name == "plain" else "", name, f"{len(pairs)}/{len(all_of_family)}" if name == "plain" else "",
                         text_of(column("tokens")) if name == "plain" else "", text_of(column("ids")),
                         text_of(column("distance")), text_of(column("to_text")), text_of(column("on_own_id"), 100),
                         text_of(column("ahead_of_text"), 100)])
    if rows:
        print("Ids. Means over picture sizes ± half of the 95 % interval.\n")
        markdown(["layout", "ids", "sizes with two grids", "tokens", "ids used", "thumbnail – tile, ids apart",
                  "tile – text, ids apart", "% tiles on own id", "% visual tokens with ids beyond those of later text"], rows)

    for named in flags.samples:
        model, samples = named.split("=", 1)
        stamp = digest(samples)
        rows = []
        for family, all_of_family in pictures.items():
            pairs = [p for p in all_of_family if p.pair]
            values = []
            for picture in pairs:
                print(f"== {model}, {family}, {picture.size[0]}x{picture.size[1]}", file=sys.stderr)
                values.append(kept.get(
                    f"{program} {stamp} prior {picture.layout()}",
                    lambda: prior(picture, ids_of(picture)["tokens_at"], flags.ropescope, samples, output / "scratch.h5")))
            # A token sees only what stands before it.
            direction = "thumbnail → tiles" if family in THUMBNAIL_LAST else "tile → thumbnail"
            for name in SCHEMES:
                of = [v[name] for v in values]
                gain = [v[name]["enrichment"] / v["plain"]["enrichment"] for v in values]
                rows.append([family if name == "plain" else "", direction if name == "plain" else "", name,
                             text_of([v["own"] for v in of], 100, 3), text_of([v["other"] for v in of], 100, 1),
                             text_of([v["share"] for v in of], 100, 2), text_of([v["enrichment"] for v in of], 1, 2),
                             "" if name == "plain" else text_of(gain, 1, 1)])
        print(f"Expected attention, {model}. Means over picture sizes (each: four places) ± half of the 95 % interval.\n")
        markdown(["layout", "who looks → at what", "ids", "% on own place", "% on the whole other grid", "own of the other grid, %",
                  "× uniform", "× plain"], rows)


if __name__ == "__main__":
    main()
