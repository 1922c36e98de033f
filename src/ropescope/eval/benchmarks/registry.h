// The registry's own side: a benchmark's file defines a Benchmark and registry.cpp lists it. Each file has a
// `prompt`, a `read` and often a `tally`, in a namespace <benchmark>_rules of its own.
#pragma once

#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/doc.h"
#include "ropescope/eval/option_columns.h"
#include "ropescope/eval/tallies.h"
