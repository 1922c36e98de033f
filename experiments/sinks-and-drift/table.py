"""Two Markdown tables over seeds, of the JSON reports of `ropescope attention --sinks --drift --json`: mean over the models of a
scheme (one a seed) with its 95 % interval (Student t)."""

import json
import math
import sys

STUDENT = [math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def interval(values, unit, digits):
    values = [v * unit for v in values if v is not None]
    if not values:
        return "-"
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
    reach = STUDENT[min(len(values) - 1, len(STUDENT) - 1)] * spread
    return f"{mean:.{digits}f} [{mean - reach:.{digits}f}, {mean + reach:.{digits}f}]"


def main():
    schemes = {}
    for path in sys.argv[1:]:
        with open(path) as file:
            (report,) = json.load(file)["schemes"]
        schemes.setdefault(report["scheme"], []).append(report)
    print("| scheme | corner, times uniform | heads above null % | after correction % | edge, times uniform | heads above null % "
          "| interior, times uniform | V-sinks a layer | L-sinks a layer | models |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for scheme, reports in schemes.items():
        sinks = [r["sinks"] for r in reports]

        def times(cells):
            return interval([s[cells]["share"]["mean"] / s[cells]["uniform"] for s in sinks], 1, 2)

        def heads(cells, name):
            return interval([s[cells][name] for s in sinks], 100, 0)

        print(f"| {scheme} | {times('corner')} | {heads('corner', 'heads_above')} | {heads('corner', 'heads_rejected')} "
              f"| {times('edge')} | {heads('edge', 'heads_above')} | {times('interior')} "
              f"| {interval([s['v_sinks_a_layer']['mean'] for s in sinks], 1, 2)} "
              f"| {interval([s['l_sinks_a_layer']['mean'] for s in sinks], 1, 2)} | {len(sinks)} |")
    print()
    print("| scheme | axis | predicted, cells a token | heads above null % | best at the shift % | marching % | centre's slope, cells a token "
          "| models |")
    print("|---|---|---|---|---|---|---|---|")
    for scheme, reports in schemes.items():
        for axis in ("rows", "columns"):
            drift = [r["drift"][axis] for r in reports]
            predicted = drift[0]["predicted"]
            print(f"| {scheme} | {axis} | {'no shift' if predicted is None else f'{predicted:g}'} "
                  f"| {interval([d['heads_above'] for d in drift], 100, 0)} | {interval([d['heads_at_shift'] for d in drift], 100, 0)} "
                  f"| {interval([d['heads_marching'] for d in drift], 100, 0)} "
                  f"| {interval([d['centre_slope']['mean'] for d in drift], 1, 4)} | {len(drift)} |")


if __name__ == "__main__":
    main()
